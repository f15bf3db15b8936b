"""A network camera on the loopback address, for tests of sources and for the soak test."""

import threading
import time
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
