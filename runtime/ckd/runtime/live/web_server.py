"""The HTTP server of the web view, for few clients; it needs nothing from the internet.

    GET  /              the page
    GET  /stream.mjpg   the overlay, as multipart JPEG
    GET  /state.json    all else that the page shows
    POST /save          save what is shown
    POST /freeze?on=1   keep the picture that is shown; on=0 ends that

The pictures may show a patient's skin, so other sites in the same browser must not reach them. On a
loopback address the Host header must name a loopback address (which prevents DNS rebinding); on
others a token is needed. A POST needs a header that a page of another site cannot send.
"""

import hmac
import json
import logging
import select
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from ckd.contract.errors import CkdError
from ckd.contract.escapes import printable_tree
from ckd.runtime.live.web_board import Board

#: A browser has one connection for the stream, and one or two for the rest.
MAX_CONNECTIONS = 24
#: A client that reads nothing, or has not asked for anything, for this long is disconnected.
CLIENT_TIMEOUT_S = 10.0
#: The header that the page sends with every POST; see the top of this file.
POST_HEADER = "X-CKD-View"

_BOUNDARY = "ckd-frame"
#: Head of a part, sent right after the picture before it. Chromium shows a part only when it has
#: read the head of the next one, and would otherwise always be one picture late. So the head cannot
#: state the length of its part.
_PART_HEAD = f"\r\n--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PAGE_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
_log = logging.getLogger(__name__)


class ViewServer(ThreadingHTTPServer):
    """Serves one `Board`; `close` ends all connections and joins all threads.

    Args:
        address: host and port to bind.
        board: what is shown.
        token: that a request must have; None on a loopback address.
        max_streams: number of browsers that can watch at the same time.
    """

    daemon_threads = False  # so that they are joined

    def __init__(
        self, address: tuple[str, int], board: Board, token: str | None, max_streams: int
    ) -> None:
        self.board = board
        self.token = token
        self.page = files("ckd.runtime.live").joinpath("page.html").read_bytes()
        self.streams = threading.BoundedSemaphore(max_streams)
        #: With the time until which it must have said what it wants; None while it is answered.
        self._connections: dict[Any, float | None] = {}
        self._connections_lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="web view"
        )
        self._thread.start()

    def server_bind(self) -> None:
        """Bind without the base class's reverse DNS look-up, which hangs if there is no DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a client, or disconnect it if there are too many."""
        with self._connections_lock:
            full = len(self._connections) >= MAX_CONNECTIONS
            if not full:
                self._connections[request] = None
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a client's connection."""
        with self._connections_lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def wait_for(self, connection: Any, until_s: float | None) -> None:
        """A client must have said what it wants by a time (monotonic); None while it is answered.

        A timeout of the socket alone would let a client send a byte now and then for ever.
        """
        with self._connections_lock:
            if connection in self._connections:
                self._connections[connection] = until_s

    def service_actions(self) -> None:
        """Disconnect clients that are too slow; called several times a second."""
        now_s = time.monotonic()
        with self._connections_lock:
            slow = [one for one, until_s in self._connections.items() if (until_s or now_s) < now_s]
        for connection in slow:
            _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, unless a browser has disconnected; the server goes on."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.error("web view: a request failed", exc_info=True)

    def close(self) -> None:
        """Stop serving."""
        self.board.close()
        self.shutdown()
        with self._connections_lock:
            for connection in self._connections:
                _shut(connection)
        self.server_close()
        self._thread.join()


def _shut(connection: Any) -> None:
    with suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"  # polling keeps one connection, and one thread
    timeout = CLIENT_TIMEOUT_S
    server_version = "ckd"
    sys_version = ""

    def handle_one_request(self) -> None:
        self.server.wait_for(self.connection, time.monotonic() + CLIENT_TIMEOUT_S)
        super().handle_one_request()

    def parse_request(self) -> bool:
        is_whole = super().parse_request()
        self.server.wait_for(self.connection, None)
        return is_whole

    def do_GET(self) -> None:
        url = self._asked()
        if url is None or not self._is_welcome(url):
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
        self.close_connection = True  # a body would not be read
        url = self._asked()
        if url is None or not self._is_welcome(url):
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
        """Log no requests, because the page polls."""

    def _asked(self) -> SplitResult | None:
        """What was asked for; None if that is no address, and the answer is given."""
        try:
            return urlsplit(self.path)
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "no such address")
            return None

    def _is_welcome(self, url: SplitResult) -> bool:
        token = self.server.token
        if token is not None:
            sent = parse_qs(url.query).get("token", [""])[0]
            if hmac.compare_digest(sent.encode(), token.encode()):
                return True
            self._refuse(
                HTTPStatus.FORBIDDEN,
                "open the address with its token, as printed or as CKD_VIEW_TOKEN has it",
            )
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
                if newer is None:  # while the source is silent, no write fails when a client leaves
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
        self._send(json.dumps(printable_tree(content)).encode(), "application/json", status)

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
