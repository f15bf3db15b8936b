"""Network cameras on the loopback address, for tests of sources and for the soak test.

`MjpegCamera` sends numbered frames without end. `ScriptedCamera` answers as a test tells it, down
to the byte, and `FAULTS` are the ways in which a JPEG arrives that is not whole.
"""

import random
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 96, 128
STEP = 6  # grey levels between frames: more than lossy compression moves a flat frame


def numbered(index: int) -> NDArray[np.uint8]:
    """A BGR frame that carries its number in its green channel; its right half is red."""
    image = np.full((HEIGHT, WIDTH, 3), (0, STEP * (index % 40), 0), np.uint8)
    image[:, WIDTH // 2 :] = (0, 0, 220)
    return image


class MjpegCamera:
    """A network camera that can be switched off, frozen, and switched on again."""

    def __init__(self, fps: float = 60.0) -> None:
        self.fps = fps
        self.on = threading.Event()
        self.sending = threading.Event()
        self.sending.set()
        self.port = 0
        self.num_sent = 0
        self.switch_on()

    @property
    def url(self) -> str:
        """The address of the stream."""
        return f"http://127.0.0.1:{self.port}/video"

    def switch_on(self) -> None:
        """Listen, on the port of last time if there was one."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
                self.end_headers()
                try:
                    while camera.on.is_set():
                        if camera.sending.is_set():
                            self.wfile.write(camera.next_part())
                        time.sleep(1 / camera.fps)
                except OSError:
                    return  # the client has closed

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = False
        self.port = self._server.server_port
        self.on.set()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def next_part(self) -> bytes:
        """The next frame as a part of the stream."""
        jpeg = cv2.imencode(".jpg", numbered(self.num_sent))[1].tobytes()
        self.num_sent += 1
        head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        return head.encode() + jpeg + b"\r\n"

    def switch_off(self) -> None:
        """End the stream and stop listening."""
        self.on.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def jpeg_of(index: int, height: int = HEIGHT, width: int = WIDTH, texture: int = 25) -> bytes:
    """A JPEG as a camera sends one: noise of its own, and restart markers.

    Its number is its grey, so that old rows in a new frame are seen.
    """
    rng = np.random.default_rng(index)
    image = np.full((height, width, 3), STEP * (index % 40), np.float32)
    image += rng.normal(0, texture, image.shape)
    options = [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_RST_INTERVAL, 4]
    return cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8), options)[1].tobytes()


def png_of(index: int) -> bytes:
    """A PNG of a numbered frame."""
    return cv2.imencode(".png", numbered(index))[1].tobytes()


def cut(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """The frame ends early, anywhere after its header."""
    return jpeg[: rng.randrange(len(jpeg) // 4, len(jpeg) - 2)]


def cut_in_header(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """The frame ends before its data."""
    return jpeg[: rng.randrange(3, jpeg.index(b"\xff\xda"))]


def spliced(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """The start of a frame, and then another frame from its start."""
    return cut(jpeg, older, rng) + older


def followed(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """Two whole frames in place of one."""
    return jpeg + older


def without_middle(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """Bytes in the middle are lost, as with a packet of USB; a restart interval and more."""
    at = rng.randrange(len(jpeg) // 3, len(jpeg) // 2)
    return jpeg[:at] + jpeg[at + 512 :]


def wrong_marker(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """A marker of the header became another one."""
    at = rng.choice([jpeg.index(b"\xff" + bytes([code])) for code in (0xDB, 0xC0, 0xDA)])
    return jpeg[: at + 1] + b"\x33" + jpeg[at + 2 :]


def wrong_restart(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """A restart marker has the number of another one."""
    scan = jpeg.index(b"\xff\xda")
    at = rng.choice([i for i in range(scan, len(jpeg) - 2) if jpeg[i : i + 2] == b"\xff\xd3"])
    return jpeg[: at + 1] + b"\xd6" + jpeg[at + 2 :]


def zeroed(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """Memory that was never written in place of the second half."""
    return jpeg[: len(jpeg) // 2] + bytes(len(jpeg) - len(jpeg) // 2)


def empty_header(jpeg: bytes, older: bytes, rng: random.Random) -> bytes:
    """Start and end markers with nothing between."""
    return b"\xff\xd8\xff\xd9"


#: Each gives what arrives of a frame; the second argument is an older frame.
FAULTS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    cut, cut_in_header, spliced, followed, without_middle, wrong_marker, wrong_restart, zeroed,
    empty_header,
)  # fmt: skip


def part(content: bytes, boundary: str = "cut", *lines: str) -> bytes:
    """A part of a stream; without lines its header has type and length."""
    lines = lines or ("Content-Type: image/jpeg", f"Content-Length: {len(content)}")
    head = "\r\n".join((f"--{boundary}", *lines, "", ""))
    return head.encode() + content + b"\r\n"


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or does not trust us, is what tests are about."""


class ScriptedCamera:
    """A server that answers every request by a function of the test.

    The function writes to the handler's `wfile`; when it returns, the connection ends, unless it
    has announced a length; with a context it speaks HTTPS. What the client has asked is in
    `asked`, as (path, headers).
    """

    def __init__(
        self,
        answer: Callable[[BaseHTTPRequestHandler], None],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                camera.asked.append((self.path, dict(self.headers)))
                try:
                    answer(self)
                    self.wfile.flush()
                except OSError:
                    self.close_connection = True  # the client has closed

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the stream."""
        return f"http://127.0.0.1:{self.port}/video"

    def close(self) -> None:
        """Stop listening; handlers that wait for `closing` end."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "ScriptedCamera":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def head(handler: BaseHTTPRequestHandler, kind: str, length: int | None = None) -> None:
    """Send the header of an answer that is fine."""
    handler.send_response(200)
    if kind:
        handler.send_header("Content-Type", kind)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    else:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
