"""The live loop, the recorder, the window and the HTTP side of the web view."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import CkdError, EnvironmentUnusable, SourceUnavailable, UsageError
from ckd.finding.explanation import draw_explanation
from ckd.finding.finding import NOTICE, Finding
from ckd.runtime.live import (
    LiveStatistics,
    Recorder,
    Shown,
    Status,
    WebView,
    WindowView,
    run_live,
    save_snapshot,
)
from ckd.runtime.live import record as record_module
from ckd.runtime.live import window as window_module
from ckd.runtime.sources import Frame, FrameSource, SourceState, VideoFile, open_source
from ckd.runtime.sources.opencv import build_feature

HEIGHT, WIDTH = 96, 128


def analyse(image_HWC: NDArray[np.uint8]) -> Finding:
    mask_HW = np.zeros(image_HWC.shape[:2], np.bool_)
    mask_HW[:24, :32] = True
    return Finding(
        mask_HW=mask_HW,
        coarse_mask_HW=None,
        probabilities={"MEL": 0.2, "SBK": 0.1, "NEV": 0.7},
        quality={},
        timings_ms={"total": 1.5},
        bundle="test",
        backend="fake",
        precision="fp32",
    )


def draw(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
    overlay_HWC = image_HWC.copy()
    overlay_HWC[finding.mask_HW] = (255, 0, 0)
    return overlay_HWC


class StillSource(FrameSource):
    """Gives ``num_frames`` frames at once, then nothing; ``state`` is set by the test."""

    name = "still"
    detail = ""
    fps = None
    dropped = 3
    state: SourceState = "live"

    def __init__(self, num_frames: int) -> None:
        self.num_left = num_frames
        self.closed = False

    def get(self, timeout_s: float | None = None) -> Frame | None:
        if self.num_left == 0:
            if self.state == "failed":
                raise SourceUnavailable("still: gone")
            if self.state != "ended":
                time.sleep(min(timeout_s or 0.0, 0.01))
            return None
        self.num_left -= 1
        return frame(self.num_left)

    def close(self) -> None:
        self.closed = True


class LateSource(StillSource):
    """Its last frame comes just after somebody stopped waiting for it, and with it the end."""

    def get(self, timeout_s: float | None = None) -> Frame | None:
        if self.state != "ended":
            self.state = "ended"
            return None
        return super().get(timeout_s)


class SpyView:
    """Remembers what it was told; closes itself after some results."""

    def __init__(self, close_after: int = 10_000) -> None:
        self.close_after = close_after
        self.results: list[Shown] = []
        self.states: list[SourceState] = []

    @property
    def closed(self) -> bool:
        return len(self.results) >= self.close_after

    def update(self, status: Status, shown: Shown | None) -> None:
        self.states.append(status.state)
        if shown is not None:
            self.results.append(shown)


def frame(index: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return Frame(np.full((height, width, 3), 120, np.uint8), index, time.monotonic())


def shown(index: int = 0) -> Shown:
    one = frame(index)
    finding = analyse(one.image_HWC)
    return Shown(one, finding, draw(one.image_HWC, finding))


LIVE = Status(state="live", statistics=LiveStatistics(num_analysed=5, num_dropped=2, fps=9.5))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (WIDTH, HEIGHT))
    for _ in range(12):
        writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    writer.release()
    return path


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


# The loop


def test_a_file_is_analysed_to_its_end_and_every_result_handed_on(clip: Path) -> None:
    view, seen = SpyView(), []
    with open_source(str(clip)) as source:
        report = run_live(
            source, analyse, draw, views=[view], on_result=lambda f, _: seen.append(f.index)
        )
    assert report.stopped_by == "source ended"
    assert seen == [shown.frame.index for shown in view.results] == list(range(12))
    assert view.states[-1] == "ended"
    np.testing.assert_array_equal(view.results[0].overlay_HWC[0, 0], [255, 0, 0])
    statistics = report.statistics
    assert (statistics.num_analysed, statistics.num_dropped) == (12, 0)
    assert statistics.fps is not None
    assert statistics.latency_p50_ms is not None
    assert statistics.latency_p90_ms is not None
    assert 0 < statistics.latency_p50_ms <= statistics.latency_p90_ms < 1000


def test_latency_counts_from_the_grab_of_the_frame() -> None:
    def slowly(image_HWC: NDArray[np.uint8]) -> Finding:
        time.sleep(0.02)
        return analyse(image_HWC)

    report = run_live(StillSource(3), slowly, draw, max_frames=3)
    assert report.statistics.num_dropped == 3
    assert report.statistics.latency_p50_ms is not None
    assert report.statistics.latency_p50_ms >= 20


def test_the_loop_stops_at_a_number_of_frames() -> None:
    report = run_live(StillSource(50), analyse, draw, max_frames=4)
    assert (report.stopped_by, report.statistics.num_analysed) == ("max frames", 4)


def test_the_loop_stops_after_a_time_even_without_a_signal() -> None:
    source, view = StillSource(0), SpyView()
    source.state = "no signal"
    started_s = time.monotonic()
    report = run_live(source, analyse, draw, views=[view], duration_s=0.1)
    assert report.stopped_by == "duration"
    assert 0.1 <= time.monotonic() - started_s < 2
    assert set(view.states) == {"no signal"}
    assert report.statistics.fps is None
    assert report.statistics.latency_p50_ms is None


def test_the_loop_stops_when_a_view_is_closed() -> None:
    report = run_live(StillSource(50), analyse, draw, views=[SpyView(), SpyView(close_after=2)])
    assert (report.stopped_by, report.statistics.num_analysed) == ("view closed", 2)


def test_ctrl_c_ends_the_loop_and_keeps_the_report() -> None:
    def press(one: Frame, finding: Finding) -> None:
        raise KeyboardInterrupt

    report = run_live(StillSource(5), analyse, draw, on_result=press)
    assert (report.stopped_by, report.statistics.num_analysed) == ("interrupted", 1)


def test_a_source_that_fails_is_shown_and_raised() -> None:
    source, view = StillSource(1), SpyView()
    source.state = "failed"
    with pytest.raises(SourceUnavailable, match="gone"):
        run_live(source, analyse, draw, views=[view])
    assert view.states[-1] == "failed"
    assert not source.closed  # it is the caller's


def test_nothing_is_drawn_for_nobody() -> None:
    def refuse(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
        raise AssertionError("drawn")

    assert run_live(StillSource(2), analyse, refuse, max_frames=2).stopped_by == "max frames"


# Saving


def test_a_snapshot_holds_frame_mask_overlay_and_numbers(tmp_path: Path) -> None:
    overlay = save_snapshot(tmp_path / "out", shown(7))
    stem = overlay.name.removesuffix("_overlay.png")
    assert stem.endswith("_000007")
    assert sorted(path.name for path in overlay.parent.iterdir()) == [
        f"{stem}.json",
        f"{stem}.png",
        f"{stem}_mask.png",
        f"{stem}_overlay.png",
    ]
    stored_bgr = cv2.imread(str(overlay))
    assert stored_bgr is not None
    assert stored_bgr[0, 0].tolist() == [0, 0, 255]
    mask_HW = cv2.imread(str(overlay.parent / f"{stem}_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask_HW is not None
    assert (mask_HW.ndim, int((mask_HW == 255).sum())) == (2, 24 * 32)
    record = json.loads((overlay.parent / f"{stem}.json").read_text())
    assert record["image"] == f"{stem}.png"
    assert (record["frame"], record["top"], record["lesion_area_px"]) == (7, "NEV", 24 * 32)


def test_a_snapshot_with_class_maps_holds_what_speaks_for_the_answer(tmp_path: Path) -> None:
    plain = shown(7)
    maps = {label: np.eye(2, dtype=np.float32) for label in plain.finding.probabilities}
    finding = replace(plain.finding, class_maps=maps)
    overlay = save_snapshot(tmp_path, replace(plain, finding=finding))
    stored_bgr = cv2.imread(str(overlay).replace("_overlay", "_explanation"))
    assert stored_bgr is not None
    expected_HWC = draw_explanation(plain.frame.image_HWC, finding)
    np.testing.assert_array_equal(stored_bgr[..., ::-1], expected_HWC)


def test_a_snapshot_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CkdError, match="taken: cannot save there"):
        save_snapshot(tmp_path / "taken", shown())


# Recording


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "new folder/out.mkv"])
def test_a_recording_with_a_given_rate_holds_each_frame_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with Recorder(path, fps=25.0) as recorder:
        for _ in range(10):
            recorder.write(np.full((HEIGHT, WIDTH, 3), (200, 0, 0), np.uint8), 0.0)
        assert not path.exists()
    with VideoFile(path) as video:
        frames = list(video)
        assert (len(frames), video.fps, video.size_hw) == (10, 25.0, (HEIGHT, WIDTH))
    colour = frames[5].image_HWC[HEIGHT // 2, WIDTH // 2].astype(int)
    np.testing.assert_allclose(colour, [200, 0, 0], atol=10)  # lossy compression
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_recording_follows_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times_s = [i / 20 for i in range(20)] + [1.5, 1.51, 1.52, 1.55] + [600.0]
    with Recorder(path) as recorder:
        for time_s in times_s:
            recorder.write(frame().image_HWC, time_s)
    with VideoFile(path) as video:
        assert video.fps == pytest.approx(20, abs=0.01)
        # 1.55 s at 20 frames/s, then ten silent minutes cut to two seconds.
        assert len(list(video)) == 32 + 40


def test_a_recording_of_few_frames_is_kept(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        recorder.write(frame().image_HWC, 1.0)
    with VideoFile(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 1


def test_odd_and_changing_sizes_are_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", fps=10.0) as recorder:
        recorder.write(frame(height=97, width=131).image_HWC, 0.0)
        recorder.write(frame(height=48, width=64).image_HWC, 0.1)
    with VideoFile(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 2


def test_a_recording_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        pass
    assert recorder.close() is None
    assert list(tmp_path.iterdir()) == []


def test_a_recording_survives_a_failing_run(tmp_path: Path, clip: Path) -> None:
    def fail_late(image_HWC: NDArray[np.uint8]) -> Finding:
        if recorder.num_written == 5:
            raise RuntimeError("engine")
        return analyse(image_HWC)

    path = tmp_path / "out.mp4"
    with (
        VideoFile(clip) as source,
        pytest.raises(RuntimeError, match="engine"),
        Recorder(path, fps=source.fps) as recorder,
    ):
        run_live(source, fail_late, draw, recorder=recorder)
    with VideoFile(path) as video:
        assert len(list(video)) == 5


def test_an_abandoned_recording_is_playable_and_keeps_the_name_of_a_part(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4")
    assert recorder.abandon() is None
    assert list(tmp_path.iterdir()) == []
    for time_s in (1.0, 1.1, 1.2):  # fewer than are held back to measure the rate
        recorder.write(frame().image_HWC, time_s)
    part = recorder.abandon()
    assert [part, tmp_path / "out.part.mp4"] == [*tmp_path.iterdir()] * 2
    assert part is not None
    with VideoFile(part) as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("out.gif", r"expected a name ending in \.mp4"),
        ("there.mp4", "exists already"),
        ("file/out.mp4", "cannot record there"),
        ("/proc/out.mp4", "cannot record there"),  # not even root may write there
    ],
)
def test_a_recording_is_refused_before_the_run(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "there.mp4").write_text("precious")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=complaint):
        Recorder(tmp_path / name)
    assert (tmp_path / "there.mp4").read_text() == "precious"


def test_the_next_codec_is_tried_and_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(record_module._CODECS, ".mp4", ("zzzz", "mp4v"))
    with Recorder(tmp_path / "out.mp4", fps=10.0) as recorder:
        recorder.write(frame().image_HWC, 0.0)
    assert (tmp_path / "out.mp4").exists()
    monkeypatch.setitem(record_module._CODECS, ".mp4", ("zzzz",))
    recorder = Recorder(tmp_path / "other.mp4", fps=10.0)
    with pytest.raises(EnvironmentUnusable, match="none of the codecs zzzz"):
        recorder.write(frame().image_HWC, 0.0)


# The window


@pytest.mark.skipif(build_feature("GUI") is not None, reason="this OpenCV has windows")
def test_a_headless_opencv_names_the_ways_out() -> None:
    with pytest.raises(EnvironmentUnusable, match=r"`--view web`.*opencv-python in place of"):
        WindowView()


def test_a_machine_without_display_is_no_place_for_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_module, "build_feature", lambda name: "QT5")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(EnvironmentUnusable, match="no display"):
        WindowView()


class FakeWindows:
    """Stands in for OpenCV's windows, which the wheel used in tests has not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[int] = []
        self.visible = 1.0
        self.pictures: list[NDArray[Any]] = []
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(window_module, "build_feature", lambda name: "QT5")
        monkeypatch.setattr(cv2, "namedWindow", lambda *args: None)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.pictures.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda ms: self.keys.pop(0) if self.keys else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *args: self.visible)


def test_the_window_obeys_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = FakeWindows(monkeypatch)
    with WindowView(save=partial(save_snapshot, tmp_path)) as window:
        windows.keys = [-1, ord(" "), -1, ord("s"), ord(" "), -1, ord("q")]
        for index in range(6):
            window.update(LIVE, shown(index))
            assert not window.closed
        # Frozen at frame 1, so that is what was saved, though frames 2 and 3 had come since.
        assert len(list(tmp_path.glob("*_000001.png"))) == 1
        window.update(LIVE, None)
        assert window.closed
    assert all(picture.shape == windows.pictures[0].shape for picture in windows.pictures)


def test_the_window_closes_with_esc_and_its_own_button(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = FakeWindows(monkeypatch)
    windows.keys = [27]
    by_key, by_button = WindowView(), WindowView()
    by_key.update(LIVE, None)
    windows.visible = 0.0
    by_button.update(LIVE, None)
    assert by_key.closed
    assert by_button.closed


def test_a_save_that_fails_is_said_in_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    windows = FakeWindows(monkeypatch)
    windows.keys = [ord("s")]
    window = WindowView(save=partial(save_snapshot, tmp_path / "taken"))
    window.update(LIVE, shown())
    window.update(LIVE, None)
    assert (windows.pictures[0] != windows.pictures[1]).any()
    assert not window.closed


def none_of_them(result: Shown) -> Shown:
    """The same result of a system whose labels may all be wrong, and are."""
    finding = replace(result.finding, probabilities={"MEL": 0.4, "SBK": 0.3}, exclusive=False)
    return replace(result, finding=finding)


def test_the_window_says_that_no_label_is_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(window_module, "_write", lambda canvas, text, *_: said.append(text))
    for result in (shown(), none_of_them(shown())):
        window_module.window_picture(LIVE, result, frozen=False, message="")
    assert said.count("nevus") == 1
    assert said.count("none of MEL, SBK") == 1


def test_a_lost_signal_darkens_the_picture() -> None:
    lost = Status(state="no signal", detail="attempt 1 of 10")
    live_HWC, lost_HWC = (
        window_module.window_picture(status, shown(), frozen=False, message="")
        for status in (LIVE, lost)
    )
    assert live_HWC.shape == lost_HWC.shape
    assert lost_HWC[300, 300].max() <= live_HWC[300, 300].max() / 2


# The web view's HTTP side; the page itself is tested in a browser, in tests/end_to_end.


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


def test_the_state_says_that_no_label_is_likely() -> None:
    with WebView(port=0) as view:
        view.update(LIVE, none_of_them(shown()))
        result = json.loads(ask(view, "/state.json")[1])["result"]
    assert result["top"] is None
    assert result["headline"] == "none of MEL, SBK"


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
    with WebView(port=0, save=partial(save_snapshot, tmp_path)) as view:
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


def test_off_the_loopback_a_token_is_needed() -> None:
    with WebView(host="0.0.0.0", port=0) as view:
        token = urlsplit(view.url).query
        assert len(token) > len("token=") + 16
        assert ask(view, "/")[0] == 403
        assert ask(view, "/state.json?token=guess")[0] == 403
        assert ask(view, f"/state.json?{token}")[0] == 200


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


def test_a_last_frame_that_comes_with_the_end_is_analysed() -> None:
    report = run_live(LateSource(1), analyse, draw)
    assert report.stopped_by == "source ended"
    assert report.statistics.num_analysed == 1
