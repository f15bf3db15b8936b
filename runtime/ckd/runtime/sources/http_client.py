"""Asks a network camera over HTTP or HTTPS, and can be interrupted at any time.

Redirects are followed. The certificate of HTTPS is checked; ``SSL_CERT_FILE`` names a file of those
that are trusted, such as a camera's own.
"""

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import SplitResult, urljoin, urlsplit

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources.http_password import Password

MAX_REDIRECTS = 5
#: Frames that wait in the system are old: this is about one of 1080p, and the system doubles it.
_RECEIVE_BYTES = 512 * 1024


class HttpClient:
    """Asks one address, again and again, on one connection where the server keeps it open.

    `ask` and what reads its answer run in one thread; `interrupt` may be called by another.

    Args:
        url: may hold user name and password.
        name: of the address for messages, without the password.
        open_timeout_s: until the header of an answer is there, redirects included.
        read_timeout_s: for which an answer may be silent.

    Attributes:
        connect_timeout_s: of each connection; at first ``open_timeout_s``.
    """

    def __init__(self, url: str, name: str, open_timeout_s: float, read_timeout_s: float) -> None:
        parts = urlsplit(url)
        self._password = Password(parts)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        self._name = name
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self.connect_timeout_s = open_timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None  # the last one
        self._connected_to = ("", "")
        self._lock = threading.Lock()  # guards the next two
        self._socket: socket.socket | None = None
        self._is_interrupted = False

    def ask(self) -> http.client.HTTPResponse:
        """An answer of status 200, whose body is still to be read.

        Raises:
            SourceUnavailable: there is none in time, or it is an error.
        """
        hurry = threading.Timer(self._open_timeout_s, self._cut)  # also of a header that drips
        hurry.daemon = True
        hurry.start()
        try:
            answer = self._ask_on(self._url)
            if self._socket is not None:
                self._socket.settimeout(self._read_timeout_s)
            return answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise self._unavailable(_said(error)) from None
        finally:
            hurry.cancel()

    def close(self) -> None:
        """End the connection."""
        for held in (self._answer, self._connection):
            if held is not None:
                held.close()
        self._answer = self._connection = None
        with self._lock:
            opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def interrupt(self) -> None:
        """End whatever is under way, for good: `ask` and reading fail soon."""
        self._is_interrupted = True
        self._cut()

    def _ask_on(self, url: str) -> http.client.HTTPResponse:
        deadline_s = time.monotonic() + self._open_timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask_once(urlsplit(url), deadline_s)
            if answer.status == 401 and self._password.is_for(urlsplit(url)):
                self._password.asked(answer.headers.get_all("WWW-Authenticate") or [])
                self.close()  # what is left unread is in the way of the next question
                answer = self._ask_once(urlsplit(url), deadline_s)
            location = answer.getheader("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                break
            self.close()
            url = urljoin(url, location)
        if answer.status == 200:
            return answer
        self.close()
        if answer.status in (401, 403):
            raise self._unavailable("it refuses the user name and password, or asks for them")
        raise self._unavailable(f"it answers {answer.status} {answer.reason}".strip())

    def _ask_once(self, parts: SplitResult, deadline_s: float) -> http.client.HTTPResponse:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._unavailable("it redirects to what is no http address")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Accept": "*/*", "User-Agent": "ckd"}
        if self._password.is_for(parts) and (sent := self._password.header(path)):
            headers["Authorization"] = sent
        is_kept = self._connection is not None and self._connected_to == parts[:2]
        try:
            connection = self._connection if is_kept else None
            connection = connection or self._connect(parts, deadline_s)
            return self._request(connection, path, headers)
        except (OSError, http.client.HTTPException):
            if not is_kept or self._is_interrupted or time.monotonic() > deadline_s:
                raise
        # The server has ended a connection that was kept for the next question.
        return self._request(self._connect(parts, deadline_s), path, headers)

    def _request(
        self, connection: http.client.HTTPConnection, path: str, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        connection.request("GET", path, headers=headers)
        self._answer = connection.getresponse()
        return self._answer

    def _connect(self, parts: SplitResult, deadline_s: float) -> http.client.HTTPConnection:
        self.close()
        host, is_safe = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_safe else 80)
        error: OSError = OSError("no such host")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            try:
                opened: socket.socket = socket.socket(family, kind, protocol)
                self._hold(opened)
                left_s = max(0.01, deadline_s - time.monotonic())
                opened.settimeout(min(left_s, self.connect_timeout_s))
                opened.connect(address)
                opened.settimeout(left_s)
                if is_safe:
                    context = ssl.create_default_context()
                    secured = context.wrap_socket(
                        opened, server_hostname=host, do_handshake_on_connect=False
                    )
                    self._hold(secured)
                    secured.do_handshake()
                    opened = secured
            except OSError as failed:
                error = failed
                self.close()
                continue
            self._connection = http.client.HTTPConnection(host, port)
            self._connection.sock = opened
            self._connection.auto_open = 0  # never a socket that `interrupt` does not know
            self._connected_to = parts[:2]
            return self._connection
        raise error

    def _hold(self, opened: socket.socket) -> None:
        """Take care of a socket, so that `interrupt` finds it."""
        with self._lock:
            self._socket = opened
            if self._is_interrupted:
                raise OSError("interrupted")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)

    def _cut(self) -> None:
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):  # it has ended already
                    # Not the method of an SSL socket, which another thread may be reading.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _unavailable(self, why: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._name}: no video stream within {self._open_timeout_s:g} s ({why}); check that "
            "the camera is on and reachable from here, and its address, user name and password"
        )


def _said(error: Exception) -> str:
    """Why a connection failed, in a clause."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted: {error.verify_message}; if it is the camera's "
                "own, name its file with SSL_CERT_FILE"
            )
        case TimeoutError():
            return "no answer in time"
        case http.client.InvalidURL():  # which says the address, with what is secret in it
            return "spaces and other such characters of an address must be written as %20 and so on"
        case socket.gaierror():
            return "no such host"
        case http.client.RemoteDisconnected() | ConnectionResetError():
            return "it ended the connection"
        case OSError() if error.strerror:
            return error.strerror.lower()
        case _:
            return " ".join(str(error).split())[:100] or "its answer is not HTTP"
