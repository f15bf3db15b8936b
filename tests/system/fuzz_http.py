"""Cases of the fuzz test for the server of the live page: whatever bytes a client sends.

The server answers or ends the connection, and goes on; it writes no traceback.
"""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from damage import Case, damaged, harms, many, taken

from ckd.runtime.live import WebView
from ckd.runtime.live.web_server import MAX_CONNECTIONS

SOUND = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"GET /state.json HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"GET /stream.mjpg HTTP/1.0\r\nHost: [::1]\r\n\r\n",
    b"POST /save HTTP/1.1\r\nHost: 127.0.0.1\r\nX-CKD-View: 1\r\nContent-Length: 4\r\n\r\nsave",
    b"POST /freeze?on=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-CKD-View: 1\r\n\r\n",
    b"POST /freeze?on=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-CKD-View: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n\r\n",
    b"GET /state.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
)
PIECES = (
    b"a: b\r\n",
    b"\r\n",
    b"%",
    b"?a=b&",
    b"/",
    b"\xff",
    b"GET / HTTP/1.1\r\n\r\n",
    b"A",
    b" ",
)
#: A client that has said all waits no longer for the end of its connection.
_ENDS_WITHIN_S = 20.0
#: There is nothing to save, or too many watch: not because of the request.
_UNDERSTOOD = b"409", b"503"
#: Several times the page; the stream, which has no end, is left when it begins.
_MOST_BYTES, _STREAM = 1 << 20, b"\r\n--ckd-frame\r\n"


class HttpCases:
    """A live page, and raw requests to it; with `with`."""

    def __init__(self) -> None:
        self.kinds: dict[str, Case] = {"http": self.http}

    def __enter__(self) -> "HttpCases":
        self._view = WebView(port=0, source_name="fuzz")
        self._said = _Said()
        logging.getLogger("ckd").addHandler(self._said)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        logging.getLogger("ckd").removeHandler(self._said)
        self._view.close()

    def http(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged request, or several in one connection."""
        count = rng.choice((1, 1, 1, 3)) if harms(rng) else 1
        content = b"".join(rng.choice(SOUND) for _ in range(count))
        if rng.random() < 0.2:
            content = many(rng, content, PIECES)
        content = damaged(rng, content)
        (folder / "request").write_bytes(content)
        return lambda: self.heard(content)

    def heard(self, content: bytes) -> None:
        """Send a request; `InputError` if the server says no to it, else as `send`."""
        status = self.send(content).partition(b"\r\n")[0].split(b" ")
        is_heard = status[1:2] and (status[1][:1] in b"12" or status[1] in _UNDERSTOOD)
        taken(is_heard, "no, or no answer")

    def send(self, content: bytes) -> bytes:
        """Send a request, and give the answer, of a stream its beginning.

        Raises:
            AssertionError: its connection does not end, or the server suffers.
        """
        url = urlsplit(self._view.url)
        assert url.hostname is not None
        assert url.port is not None
        answer = b""
        with socket.create_connection((url.hostname, url.port), _ENDS_WITHIN_S) as client:
            try:
                client.sendall(content)
                with suppress(OSError):  # it may have answered and ended already
                    client.shutdown(socket.SHUT_WR)
                began_s = time.monotonic()
                while _STREAM not in answer and (got := client.recv(65536)):
                    answer += got
                    assert time.monotonic() - began_s < _ENDS_WITHIN_S, "it does not end"
                    assert len(answer) < _MOST_BYTES, "it does not end"
            except TimeoutError:
                raise AssertionError("it neither answers nor ends") from None
            except OSError:  # it had heard enough, and ended the connection
                pass
        assert not self._said.lines, self._said.lines
        assert threading.active_count() < 2 * MAX_CONNECTIONS, "threads are left over"
        return answer


class _Said(logging.Handler):
    """Keeps what the server logs, which nothing of a client's should make it do."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))
