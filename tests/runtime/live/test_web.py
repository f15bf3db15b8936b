"""The HTTP side of the web view; the page is tested in a browser, in tests/end_to_end."""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from tests.runtime.live.rig import HEIGHT, LIVE, WIDTH, none_of_them, shown

from ckd.contract.errors import UsageError
from ckd.finding.sentences import NOTICE
from ckd.runtime.live import (
    LiveStatistics,
    Status,
    WebView,
    save_snapshot,
)
from ckd.runtime.sinks import RecordingState
from ckd.runtime.sources import FaultKind, open_source


def ask(
    view: WebView, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, Mapping[str, str]]:
    url = urlsplit(view.url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=5)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    finally:
        connection.close()


def post(view: WebView, path: str) -> tuple[int, Any]:
    status, body, _ = ask(view, path, "POST", {"X-CKD-View": "1"})
    return status, json.loads(body)


def open_stream(view: WebView) -> http.client.HTTPResponse:
    """Closing the answer closes its connection, as the server has announced no length."""
    url = urlsplit(view.url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=5)
    connection.request("GET", "/stream.mjpg")
    return connection.getresponse()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    with WebView(port=0) as view:
        status, body, headers = ask(view, "/")
    page = body.decode()
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "http:" not in page
    assert "https:" not in page
    assert NOTICE in page


def test_the_state_is_told_before_and_after_the_first_result() -> None:
    with WebView(port=0, source_name="bench") as view:
        before = json.loads(ask(view, "/state.json")[1])
        assert (before["source"], before["state"], before["result"]) == (
            "bench",
            "connecting",
            None,
        )
        assert not before["can_save"]
        view.update(LIVE, shown(4))
        after = json.loads(ask(view, "/state.json")[1])
    assert (after["state"], after["analysed"], after["dropped"], after["fps"]) == (
        "live",
        5,
        2,
        9.5,
    )
    result = after["result"]
    assert (result["frame"], result["top"], result["size_hw"]) == (4, "NEV", [HEIGHT, WIDTH])
    assert list(result["probabilities"]) == ["MEL", "SBK", "NEV"]
    assert result["names"]["MEL"] == "melanoma"
    assert result["headline"] == "nevus"
    assert result["lesion_share"] == pytest.approx(24 * 32 / (HEIGHT * WIDTH))


def test_faults_of_frames_are_in_the_state() -> None:
    with WebView(port=0) as view:
        assert json.loads(ask(view, "/state.json")[1])["faults"] == {}
        faults: dict[FaultKind, int] = {"damaged": 3, "repeated": 1}
        view.update(replace(LIVE, statistics=LiveStatistics(faults=faults)), None)
        assert json.loads(ask(view, "/state.json")[1])["faults"] == faults


def test_the_state_says_that_no_label_is_likely() -> None:
    with WebView(port=0) as view:
        view.update(LIVE, none_of_them(shown()))
        result = json.loads(ask(view, "/state.json")[1])["result"]
    assert result["top"] is None
    assert result["headline"] == "none of MEL, SBK"


def test_the_state_tells_of_a_recording_and_why_it_ended() -> None:
    well = RecordingState(path=Path("here/seen.mkv"), num_pictures=9, num_bytes=1_500_000)
    ended = replace(well, ended_by="499 MB are free on its disk")
    with WebView(port=0) as view:
        states = []
        for recording in (None, well, ended):
            view.update(replace(LIVE, recording=recording), None)
            states.append(json.loads(ask(view, "/state.json")[1])["recording"])
        page = ask(view, "/")[1].decode()
    assert states[0] is None
    assert (states[1]["file"], states[1]["pictures"], states[1]["bytes"]) == (
        "seen.mkv",
        9,
        1_500_000,
    )
    assert states[1]["warning"] == ""
    assert states[2]["ended_by"] == "499 MB are free on its disk"
    assert states[2]["warning"] == "Recording ended early: 499 MB are free on its disk"
    assert 'id="recording"' in page


def test_the_stream_can_be_read_by_our_own_source() -> None:
    with WebView(port=0) as view, open_source(f"{view.url}stream.mjpg") as source:
        end_s = time.monotonic() + 5
        while (received := source.get(0.02)) is None and time.monotonic() < end_s:
            view.update(LIVE, shown())
        assert received is not None
        assert received.size_hw == (HEIGHT, WIDTH)
        corner = received.image_HWC[4, 4].astype(int)
        np.testing.assert_allclose(corner, [255, 0, 0], atol=12)  # JPEG, chroma at half size


def test_large_pictures_are_shrunk_for_the_stream_only(tmp_path: Path) -> None:
    with WebView(port=0, max_side_px=64, save=partial(save_snapshot, tmp_path)) as view:
        view.update(LIVE, shown())
        with open_stream(view) as stream:
            part = stream.read(400)
        start = part.index(b"\xff\xd8")
        assert part[:start].endswith(b"Content-Type: image/jpeg\r\n\r\n")
        assert b"\x00\x30\x00\x40" in part[start:]  # the JPEG's frame header: 48 rows, 64 columns
        assert post(view, "/save")[0] == 200
    (overlay,) = tmp_path.glob("*_overlay.png")
    stored = cv2.imread(str(overlay))
    assert stored is not None
    assert stored.shape == (HEIGHT, WIDTH, 3)


def test_freezing_holds_what_is_shown_and_saved(tmp_path: Path) -> None:
    pressed: list[str] = []
    save = partial(save_snapshot, tmp_path)
    with WebView(port=0, save=save, pressed=pressed.append) as view:
        assert not post(view, "/freeze?on=1")[1]["frozen"]  # there is nothing to hold yet
        view.update(LIVE, shown(1))
        assert post(view, "/freeze?on=1")[1]["frozen"]
        view.update(LIVE, shown(2))
        status, saved = post(view, "/save")
        assert status == 200
        assert saved["saved"].endswith("_000001_overlay.png")
        assert not post(view, "/freeze?on=0")[1]["frozen"]
        view.update(LIVE, shown(3))
        assert json.loads(ask(view, "/state.json")[1])["result"]["frame"] == 3
    assert pressed == ["freeze", "freeze", "save", "unfreeze"]


def test_a_save_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with WebView(port=0, save=partial(save_snapshot, tmp_path / "taken")) as view:
        assert post(view, "/save") == (409, {"error": "nothing to save yet"})
        view.update(LIVE, shown())
        status, answer = post(view, "/save")
        assert status == 409
        assert "cannot save there" in answer["error"]
    with WebView(port=0) as view:
        assert post(view, "/save")[0] == 409


def test_other_sites_cannot_look_or_act() -> None:
    with WebView(port=0) as view:
        assert ask(view, "/state.json", headers={"Host": "evil.example"})[0] == 403
        assert ask(view, "/stream.mjpg", headers={"Host": "evil.example"})[0] == 403
        assert ask(view, "/freeze?on=1", "POST")[0] == 403
        assert ask(view, "/nothing")[0] == 404
        assert ask(view, "/", headers={"Host": "localhost:1"})[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_address_is_refused_in_a_line(
    method: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with WebView(port=0) as view:
        url = urlsplit(view.url)
        with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
            connection.sendall(f"{method} http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_off_the_loopback_a_token_is_needed() -> None:
    with WebView(host="0.0.0.0", port=0) as view:
        token = urlsplit(view.url).query
        assert len(token) > len("token=") + 16
        assert ask(view, "/")[0] == 403
        assert ask(view, "/state.json?token=guess")[0] == 403
        assert ask(view, f"/state.json?{token}")[0] == 200


def test_a_token_that_was_given_is_needed_everywhere_and_not_in_the_printed_address() -> None:
    token = "sixteen_letters-or-more"
    with WebView(port=0, token=token) as view:
        assert view.url.endswith("/?token=***")
        refused, said = ask(view, "/state.json")[:2]
        assert refused == 403
        assert b"CKD_VIEW_TOKEN" in said
        assert ask(view, "/state.json?token=***")[0] == 403
        assert ask(view, f"/state.json?token={token}")[0] == 200


def test_what_a_camera_calls_itself_turns_no_text_of_the_page() -> None:
    with WebView(port=0, source_name="a\x1b[31m\u202eb\u2028c") as view:
        view.update(Status(state="failed", detail="it answers 500 \x9b\u2066"), None)
        state = json.loads(ask(view, "/state.json")[1])
    assert state["source"] == r"a\x1b[31m\u202eb\u2028c"
    assert state["detail"] == r"it answers 500 \x9b\u2066"


def test_viewers_are_bounded_and_leave_their_place() -> None:
    with WebView(port=0, max_streams=2) as view:
        streams = [open_stream(view) for _ in range(2)]
        assert [stream.status for stream in streams] == [200, 200]
        status, body, _ = ask(view, "/stream.mjpg")
        assert status == 503
        assert b"too many viewers" in body
        for stream in streams:
            stream.close()
        end_s = time.monotonic() + 5  # no picture comes: the server has to look for itself
        while True:
            with open_stream(view) as stream:
                if stream.status == 200:
                    break
            assert time.monotonic() < end_s
            time.sleep(0.05)


def test_closing_ends_open_connections_at_once() -> None:
    view = WebView(port=0)
    view.update(LIVE, shown())
    idle = http.client.HTTPConnection("127.0.0.1", urlsplit(view.url).port, timeout=5)
    idle.request("GET", "/state.json")
    idle.getresponse().read()  # and the connection stays open
    stream = open_stream(view)
    started_s = time.monotonic()
    view.close()
    view.close()
    assert time.monotonic() - started_s < 1.5
    assert view.closed
    stream.read()
    stream.close()
    idle.close()


def test_a_port_in_use_is_said() -> None:
    with WebView(port=0) as view:
        port = urlsplit(view.url).port
        assert port is not None
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port} .*choose another port"):
            WebView(port=port)
