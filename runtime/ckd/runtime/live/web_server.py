"""The HTTP side of the web view: four addresses, few clients, nothing from the internet.

    GET  /              the page
    GET  /stream.mjpg   the overlay, as multipart JPEG
    GET  /state.json    everything else that the page shows
    POST /save          store what is shown
    POST /freeze?on=1   hold the picture; on=0 lets it go

What is shown may be a patient's skin, so other sites in the same browser must not reach it: on a
loopback address the Host header must name one (which defeats DNS rebinding), elsewhere a token is
needed; and a POST needs a header that a foreign page cannot send.
"""

import hmac
import json
import logging
import select
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from ckd.contract.errors import CkdError
from ckd.runtime.live.web_board import Board

#: A browser holds one connection for the stream and one or two for the rest.
MAX_CONNECTIONS = 24
#: A client that takes nothing for this long is let go.
CLIENT_TIMEOUT_S = 10.0
#: The page sends it with every POST; see the top of the file.
POST_HEADER = "X-CKD-View"

_BOUNDARY = "ckd-frame"
#: Sent right after each picture, not before the next one: Chromium shows a part only once it has
#: read the head of the part after it, and would always be one picture late. (So no lengths.)
_PART_HEAD = f"\r\n--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PAGE_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
_log = logging.getLogger(__name__)


class ViewServer(ThreadingHTTPServer):
    """Serves one `Board`. `close` ends every connection and joins every thread."""

    daemon_threads = False  # so that they are joined

    def __init__(
        self, address: tuple[str, int], board: Board, token: str | None, max_streams: int
    ) -> None:
        self.board = board
        self.token = token
        self.page = files("ckd.runtime.live").joinpath("page.html").read_bytes()
        self.streams = threading.BoundedSemaphore(max_streams)
        self._connections: set[Any] = set()
        self._connections_lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="web view"
        )
        self._thread.start()

    def server_bind(self) -> None:
        """Bind without the base class's reverse DNS look-up, which hangs where there is no DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a client, unless there are too many."""
        with self._connections_lock:
            full = len(self._connections) >= MAX_CONNECTIONS
            if not full:
                self._connections.add(request)
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a client that is done."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error; anything else is logged, and ends nothing."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.error("web view: a request failed", exc_info=True)

    def close(self) -> None:
        """Stop serving."""
        self.board.close()
        self.shutdown()
        with self._connections_lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # gone already
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"  # polling keeps one connection, and one thread
    timeout = CLIENT_TIMEOUT_S
    server_version = "ckd"
    sys_version = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._is_welcome(url):
            return
        if url.path == "/":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif url.path == "/state.json":
            self._send_json(self.server.board.state())
        elif url.path == "/stream.mjpg":
            self._stream()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        self.close_connection = True  # a body is neither expected nor read
        if not self._is_welcome(url):
            return
        if self.headers.get(POST_HEADER) is None:
            self._refuse(HTTPStatus.FORBIDDEN, f"the header {POST_HEADER} is missing")
        elif url.path == "/save":
            try:
                self._send_json({"saved": self.server.board.save()})
            except CkdError as error:
                self._refuse(HTTPStatus.CONFLICT, str(error))
        elif url.path == "/freeze":
            self.server.board.freeze(parse_qs(url.query).get("on") == ["1"])
            self._send_json(self.server.board.state())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such action")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing per request: the page polls."""

    def _is_welcome(self, url: SplitResult) -> bool:
        token = self.server.token
        if token is not None:
            given = parse_qs(url.query).get("token", [""])[0]
            if hmac.compare_digest(given.encode(), token.encode()):
                return True
            self._refuse(HTTPStatus.FORBIDDEN, "open the address with its token, as printed")
            return False
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            host = None
        if host in _LOOPBACK_NAMES:
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "open it as http://127.0.0.1 with the port as printed")
        return False

    def _stream(self) -> None:
        if not self.server.streams.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers; close another one")
            return
        try:
            self.close_connection = True
            self.send_response(HTTPStatus.OK)
            self._headers(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.wfile.write(_PART_HEAD)
            sequence = 0
            while not self.server.board.closed:
                newer = self.server.board.next_jpeg(sequence, timeout_s=1.0)
                if newer is None:  # a silent source must not keep the places of those who left
                    if self._has_left():
                        return
                    continue
                sequence, jpeg = newer
                self.wfile.write(jpeg + _PART_HEAD)
        finally:
            self.server.streams.release()

    def _has_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._send_json({"error": why}, status)

    def _send_json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self._headers(kind)
        self.wfile.write(body)

    def _headers(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _PAGE_POLICY)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
