"""Network cameras over HTTP, on the loopback address: what they answer, and how they are asked."""

import base64
import hashlib
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from itertools import count
from urllib.parse import unquote
from urllib.request import parse_http_list, parse_keqv_list

import cv2
import numpy as np
import pytest
from mjpeg_camera import FAULTS, HEIGHT, WIDTH, ScriptedCamera, head, jpeg_of, part, png_of

from ckd.contract.errors import SourceUnavailable, UsageError
from ckd.picture import whole_rgb
from ckd.runtime.sources import Frame, FrameSource, Reconnect, open_source
from ckd.runtime.sources import network as network_module
from ckd.runtime.sources.opencv import discard_corrupt

Answer = Callable[[BaseHTTPRequestHandler], None]
QUICK = Reconnect(max_attempts=2, first_delay_s=0.02, factor=1)
STREAM = "multipart/x-mixed-replace; boundary=cut"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    end_s = time.monotonic() + 5
    while not set(threading.enumerate()) <= before:
        assert time.monotonic() < end_s, threading.enumerate()
        time.sleep(0.005)


def streaming(*parts: bytes, kind: str = STREAM) -> Answer:
    """Send these parts at once, and then leave the connection open and silent."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, kind)
        for one in parts:
            handler.wfile.write(one)
            handler.wfile.flush()
        handler.connection.recv(1)  # until the client closes

    return answer


def single(content: Callable[[], bytes], kind: str = "image/jpeg") -> Answer:
    """One picture for each question, on a connection that stays open."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        picture = content()
        head(handler, kind, len(picture))
        handler.wfile.write(picture)

    return answer


def frames_of(source: FrameSource, num: int, timeout_s: float = 3.0) -> list[Frame]:
    frames = []
    for _ in range(num):
        frame = source.get(timeout_s)
        assert frame is not None, (source.state, source.detail)
        frames.append(frame)
    return frames


def wait_for(condition: Callable[[], bool], timeout_s: float = 3.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "did not happen in time"
        time.sleep(0.005)


def test_a_frame_is_what_was_sent_to_the_byte() -> None:
    with ScriptedCamera(streaming(part(jpeg_of(7)))) as camera, open_source(camera.url) as source:
        (frame,) = frames_of(source, 1)
        np.testing.assert_array_equal(frame.image_HWC, whole_rgb(jpeg_of(7)))
        assert frame.jpeg == jpeg_of(7)
        assert frame.index == 0
        assert dict(source.faults) == {}
        assert len(camera.asked) == 1


def test_no_frame_that_is_not_whole_is_given_and_each_is_counted() -> None:
    rng = random.Random(1)
    wrong = [fault(jpeg_of(30), jpeg_of(1), rng) for fault in FAULTS]
    sent = [part(one, "cut", "Content-Type: image/jpeg") for one in wrong]
    with (
        ScriptedCamera(streaming(*sent, part(jpeg_of(7)))) as camera,
        open_source(camera.url) as source,
    ):
        (frame,) = frames_of(source, 1)
        assert frame.jpeg == jpeg_of(7)
        assert dict(source.faults) == {"damaged": len(wrong)}
        assert (frame.index, source.dropped) == (0, 0)


def test_a_new_size_is_followed_and_an_impossible_one_refused() -> None:
    sizes = [(8, 8), (HEIGHT, WIDTH), (2 * HEIGHT, WIDTH), (8, 8), (HEIGHT, WIDTH)]
    sent = [part(jpeg_of(number, *size)) for number, size in enumerate(sizes)]
    turn = threading.Semaphore(0)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, STREAM)
        for one in sent:
            handler.wfile.write(one)
            if len(one) > 1500:  # one that is given
                turn.acquire(timeout=3)
        handler.connection.recv(1)

    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        seen = []
        for _ in range(3):
            seen += [frame.size_hw for frame in frames_of(source, 1)]
            turn.release()
        assert seen == [sizes[1], sizes[2], sizes[4]]
        assert dict(source.faults) == {"refused": 2, "resized": 2}


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (streaming(part(jpeg_of(1)), kind="Multipart/X-Mixed-Replace;boundary=--cut"), jpeg_of(1)),
        (streaming(part(jpeg_of(1)), kind="multipart/x-mixed-replace"), jpeg_of(1)),
        (streaming(part(jpeg_of(1)), kind=""), jpeg_of(1)),
        (streaming(part(jpeg_of(1)), kind="application/octet-stream"), jpeg_of(1)),
        (streaming(part(jpeg_of(1)), kind="text/plain"), jpeg_of(1)),
        (streaming(part(jpeg_of(1)), kind="image/jpeg"), jpeg_of(1)),
        (streaming(part(jpeg_of(1)), kind="video/x-motion-jpeg"), jpeg_of(1)),
        (streaming(part(png_of(1), "cut", "Content-Type: image/png") + b"--cut\r\n"), png_of(1)),
        (
            streaming(part(b"{}", "cut", "Content-Type: application/json") + part(jpeg_of(1))),
            jpeg_of(1),
        ),
        (single(lambda: jpeg_of(1), "image/jpg"), jpeg_of(1)),
        (single(lambda: jpeg_of(1), "image/jpeg;size=4000"), jpeg_of(1)),
        (single(lambda: jpeg_of(1), "application/octet-stream"), jpeg_of(1)),
        (single(lambda: png_of(1), "image/png"), png_of(1)),
    ],
)
def test_what_the_camera_answers_decides_and_not_its_address(answer: Answer, sent: bytes) -> None:
    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        assert frames_of(source, 1)[0].jpeg == sent
        assert dict(source.faults) == {}


def test_a_camera_of_single_pictures_is_asked_again_on_the_same_connection() -> None:
    ports, numbers = set(), count(1)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        ports.add(handler.client_address[1])
        single(lambda: jpeg_of(next(numbers)))(handler)

    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        frames = frames_of(source, 4)
        assert [frame.jpeg for frame in frames] == [jpeg_of(1 + frame.index) for frame in frames]
        assert source.state == "live"
    assert len(ports) == 1


def test_a_camera_may_end_the_connection_after_each_picture() -> None:
    numbers = count()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "image/jpeg")
        handler.wfile.write(jpeg_of(next(numbers)))

    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        frames = frames_of(source, 3)
        assert [frame.jpeg for frame in frames] == [jpeg_of(frame.index) for frame in frames]
        assert (source.state, dict(source.faults)) == ("live", {})


def test_a_stream_may_come_in_chunks_of_http() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", STREAM)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for one in (part(jpeg_of(1))[:999], part(jpeg_of(1))[999:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(one), one))
        handler.wfile.flush()
        handler.connection.recv(1)

    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        assert frames_of(source, 1)[0].jpeg == jpeg_of(1)


def test_a_picture_that_stays_the_same_is_asked_for_less_often_and_counted() -> None:
    with (
        ScriptedCamera(single(lambda: jpeg_of(5))) as camera,
        open_source(camera.url) as source,
    ):
        first, second = frames_of(source, 2)
        assert first.image_HWC is second.image_HWC  # it was decoded once
        assert second.captured_s > first.captured_s
        started_s, asked = time.monotonic(), len(camera.asked)
        frames_of(source, 1)
        assert len(camera.asked) - asked <= 2
        assert source.faults["repeated"] >= 1
        assert time.monotonic() - started_s < 2


def test_other_video_is_left_to_ffmpeg_and_not_asked_for_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def open_capture(url: str, backend: int, parameters: list[int]) -> None:
        opened.append((url, backend))

    monkeypatch.setattr(network_module, "open_capture", open_capture)
    answer = streaming(b"\0\0\0\x18ftypmp42", kind="video/mp4")
    patient = Reconnect(max_attempts=2, first_delay_s=0.01, at_start=True)
    with ScriptedCamera(answer) as camera:
        url = camera.url.replace("//", "//anna:secret@")
        with (
            open_source(url, reconnect=patient) as source,
            pytest.raises(SourceUnavailable, match="no video stream"),
        ):
            source.get(3.0)
        assert opened == [(url, cv2.CAP_FFMPEG)] * 3
        assert len(camera.asked) == 1


def test_ffmpeg_is_told_to_drop_what_is_damaged_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.setenv(name, "rtsp_transport;udp")
    discard_corrupt()
    assert os.environ[name] == "rtsp_transport;udp"
    monkeypatch.delenv(name)
    discard_corrupt()
    assert os.environ[name] == "rtsp_flags;prefer_tcp|fflags;discardcorrupt"


def test_a_web_page_is_no_video() -> None:
    page = single(lambda: b"<html>login</html>", "text/html; charset=utf-8")
    with (
        ScriptedCamera(page) as camera,
        open_source(camera.url) as source,
        pytest.raises(SourceUnavailable, match="answers with a web page and no video"),
    ):
        source.get(3.0)


def test_a_camera_that_says_once_that_it_is_not_ready_is_still_read_strictly() -> None:
    """FFmpeg would take the frame that is cut off; it is not asked for what is text."""
    damaged, whole = part(jpeg_of(1)[:-400]), part(jpeg_of(2))
    answers = iter([single(lambda: b"starting", "text/plain"), streaming(damaged, whole)])
    patient = Reconnect(max_attempts=2, first_delay_s=0.01, at_start=True)
    with (
        ScriptedCamera(lambda handler: next(answers)(handler)) as camera,
        open_source(camera.url, reconnect=patient) as source,
    ):
        assert frames_of(source, 1)[0].jpeg == jpeg_of(2)
        assert dict(source.faults) == {"damaged": 1}


def test_a_playlist_is_left_to_ffmpeg_whatever_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(network_module, "open_capture", lambda url, *how: opened.append(url))
    playlist = single(lambda: b"#EXTM3U\n#EXTINF:1,\na.ts\n", "text/plain")
    with (
        ScriptedCamera(playlist) as camera,
        open_source(camera.url) as source,
        pytest.raises(SourceUnavailable, match="no video stream"),
    ):
        source.get(3.0)
    assert opened == [camera.url]


# How the camera is asked.


def refusing(challenge: str, is_right: Callable[[str], bool]) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if is_right(handler.headers.get("Authorization", "")):
            single(lambda: jpeg_of(3))(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def is_basic(sent: str) -> bool:
    return sent == "Basic " + base64.b64encode(b"anna:p@ss/w\xc3\xb6rd").decode()


def is_digest(sent: str) -> bool:
    """RFC 7616, 3.4.1, computed from what the client says."""
    if not sent.startswith("Digest "):
        return False
    told = parse_keqv_list(parse_http_list(sent.removeprefix("Digest ")))

    def h(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    assert (told["algorithm"], told["opaque"], told["uri"]) == ("SHA-256", "box", "/video")
    middle = f"{told['nonce']}:{told['nc']}:{told['cnonce']}:auth"
    own = h(f"anna:a, b:{'p@ss/wörd'}")
    return told["response"] == h(f"{own}:{middle}:{h('GET:/video')}")


@pytest.mark.parametrize(
    ("challenge", "is_right"),
    [
        ('Basic realm="camera"', is_basic),
        ('Digest realm="a, b", qop="auth", algorithm=SHA-256, nonce="n", opaque="box"', is_digest),
    ],
    ids=["basic", "digest"],
)
def test_the_password_is_sent_as_the_camera_asks_for_it(
    challenge: str, is_right: Callable[[str], bool]
) -> None:
    with ScriptedCamera(refusing(challenge, is_right)) as camera:
        url = camera.url.replace("//", "//anna:p%40ss%2Fw%C3%B6rd@")
        with open_source(url) as source:
            frames_of(source, 2)
            assert "anna" not in f"{source.name}{source.detail}"
        assert "Authorization" not in camera.asked[0][1]  # nothing before it is asked for
        wrong = camera.url.replace("//", "//anna:wrong@")
        with (
            open_source(wrong) as source,
            pytest.raises(SourceUnavailable, match="refuses the user name and password") as caught,
        ):
            source.get(3.0)
        assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("user", ["an%0D%0Ana", "an%22na", "%C3%A4nna", "%E4%BD%A0"])
def test_a_user_name_that_fits_into_no_header_is_refused_and_not_shown(user: str) -> None:
    with (
        ScriptedCamera(refusing('Digest realm="a", nonce="n"', is_digest)) as camera,
        open_source(camera.url.replace("//", f"//{user}:secret@")) as source,
        pytest.raises(SourceUnavailable, match="by Digest, which this user name cannot be") as told,
    ):
        source.get(3.0)
    assert unquote(user) not in str(told.value)


def test_redirects_are_followed_without_the_password_to_another_host() -> None:
    with ScriptedCamera(single(lambda: jpeg_of(3))) as goal:
        for host, is_told in (("127.0.0.1", True), ("localhost", False)):

            def redirect(handler: BaseHTTPRequestHandler, host: str = host) -> None:
                if "Authorization" not in handler.headers:
                    refusing("Basic", lambda sent: False)(handler)
                    return
                handler.send_response(302)
                handler.send_header("Location", f"http://{host}:{goal.port}/there?a=1")
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            with ScriptedCamera(redirect) as camera:
                with open_source(camera.url.replace("//", "//anna:secret@")) as source:
                    frames_of(source, 1)
                path, headers = goal.asked[-1]
                assert path == "/there?a=1"
                assert ("Authorization" in headers) == is_told, host


def test_redirects_without_end_are_refused() -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", "/again")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with (
        ScriptedCamera(redirect) as camera,
        open_source(camera.url) as source,
        pytest.raises(SourceUnavailable, match="it answers 307"),
    ):
        source.get(3.0)
    assert len(camera.asked) == 6


# Time.


def test_a_header_that_drips_is_refused_in_time() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        while True:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: "[:1])
            handler.wfile.flush()
            time.sleep(0.02)

    started_s = time.monotonic()
    with (
        ScriptedCamera(drip) as camera,
        open_source(camera.url, open_timeout_s=0.2) as source,
        pytest.raises(SourceUnavailable, match=r"no video stream within 0\.2 s"),
    ):
        source.get(5.0)
    assert time.monotonic() - started_s < 2.0


@pytest.mark.parametrize("phase", ["before the answer", "before a frame", "in a frame"])
def test_closing_does_not_wait_for_a_silent_camera(phase: str) -> None:
    reached = threading.Event()
    with ScriptedCamera(lambda handler: _silent(handler, phase, reached, camera)) as camera:
        source = open_source(camera.url, open_timeout_s=30, read_timeout_s=30)
        assert reached.wait(3)
        time.sleep(0.02)
        started_s = time.monotonic()
        source.close()
        assert time.monotonic() - started_s < 1.0


def _silent(
    handler: BaseHTTPRequestHandler, phase: str, reached: threading.Event, camera: ScriptedCamera
) -> None:
    if phase != "before the answer":
        head(handler, STREAM)
    if phase == "in a frame":
        handler.wfile.write(part(jpeg_of(1))[:1000])
        handler.wfile.flush()
    reached.set()
    camera.closing.wait(5)


def test_closing_does_not_wait_for_a_host_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # a full queue: the system does not answer the next one
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        source = open_source(f"http://127.0.0.1:{port}/", open_timeout_s=30)
        time.sleep(0.1)
        started_s = time.monotonic()
        source.close()
        assert time.monotonic() - started_s < 1.0
        for one in waiting:
            one.close()


def test_a_connection_that_ends_within_a_frame_costs_that_frame() -> None:
    numbers = count()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, STREAM)
        handler.wfile.write(part(jpeg_of(next(numbers))) + part(jpeg_of(9))[:3000])

    with (
        ScriptedCamera(answer) as camera,
        open_source(camera.url, reconnect=QUICK) as source,
    ):
        frames = frames_of(source, 2)
        assert [frame.jpeg for frame in frames] == [jpeg_of(frame.index) for frame in frames]
        assert source.faults["damaged"] >= 1
        assert source.state == "live"


@pytest.mark.parametrize("address", ["anna:secret@/video", "anna:sec/ret@camera/video"])
def test_an_address_without_a_host_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"no host.*%2F") as caught:
        open_source(f"http://{address}")
    assert "sec" not in str(caught.value)


def test_an_error_of_the_camera_is_told() -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(503, "busy")

    with (
        ScriptedCamera(broken) as camera,
        open_source(camera.url) as source,
        pytest.raises(SourceUnavailable, match=re.escape("(it answers 503 busy)")),
    ):
        source.get(3.0)
    wait_for(lambda: source.state == "failed")
