"""Asks a network camera over HTTP or HTTPS, and can be interrupted at any time.

Redirects are followed, and a user name and a password in the address are sent as the camera asks
for them (RFC 7617 "Basic", RFC 7616 "Digest"), to the host they were given for and no other. The
certificate of HTTPS is checked; ``SSL_CERT_FILE`` names one more, such as a camera's own.
"""

import base64
import hashlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from ckd.contract.errors import SourceUnavailable

MAX_REDIRECTS = 5
#: Frames that wait in the system are old: this is about one of 1080p, and the system doubles it.
_RECEIVE_BYTES = 512 * 1024
#: Of an address whose password holds a slash that should have been %2F.
_NO_PORT = re.compile(r"//[^/?#:]*:(?!\d+(?:[/?#]|$)).*@")
_SECRET = re.compile(r"(?i)([?&][\w-]*(?:pass|pwd|token|secret|key|auth)[\w-]*=)[^&#]*")
_DIGESTS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


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
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        self._credentials = (unquote(user), unquote(password)) if user else None
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        self._name = name
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self.connect_timeout_s = open_timeout_s
        self._challenge = ""  # how the server asked for the password
        self._num_asked = 0
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
            if answer.status == 401 and self._takes_challenge(answer, url):
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
        if self._may_have_password(parts) and (sent := self._authorization(path)):
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

    # The password.

    def _may_have_password(self, parts: SplitResult) -> bool:
        own = urlsplit(self._url)
        is_safer = parts.scheme == "https" or own.scheme == "http"
        return self._credentials is not None and parts.hostname == own.hostname and is_safer

    def _takes_challenge(self, answer: http.client.HTTPResponse, url: str) -> bool:
        """Note how the server wants the password; True if it may have it."""
        offers = answer.headers.get_all("WWW-Authenticate") or []
        digests = [offer for offer in offers if offer.lower().startswith("digest ")]
        self._challenge, self._num_asked = (digests or ["Basic"])[0], 0
        return self._may_have_password(urlsplit(url))

    def _authorization(self, path: str) -> str:
        """The header for the challenge of the server; an empty text before there was one."""
        user, password = self._credentials or ("", "")
        if not self._challenge:
            return ""
        if self._challenge == "Basic":
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        asked = parse_keqv_list(parse_http_list(self._challenge[len("digest ") :]))
        algorithm = asked.get("algorithm", "MD5").upper()
        if algorithm not in _DIGESTS:
            raise self._unavailable(f"it asks for the password by {algorithm}, which is not known")

        def hashed(text: str) -> str:
            return _DIGESTS[algorithm](text.encode()).hexdigest()

        self._num_asked += 1
        realm, nonce, count = asked.get("realm", ""), asked.get("nonce", ""), self._num_asked
        own, what = hashed(f"{user}:{realm}:{password}"), hashed(f"GET:{path}")
        told = f'username="{user}", realm="{realm}", nonce="{nonce}", uri="{path}"'
        if "auth" in asked.get("qop", "").replace(" ", "").split(","):
            drawn = os.urandom(8).hex()
            answer = hashed(f"{own}:{nonce}:{count:08x}:{drawn}:auth:{what}")
            told += f', qop=auth, nc={count:08x}, cnonce="{drawn}"'
        else:
            answer = hashed(f"{own}:{nonce}:{what}")
        if opaque := asked.get("opaque"):
            told += f', opaque="{opaque}"'
        return f'Digest {told}, response="{answer}", algorithm={algorithm}'


def without_password(url: str) -> str:
    """An address as people may see it: no user, no password, no secret in its query."""
    bare = _NO_PORT.sub("//", re.sub(r"//[^/]*@", "//", url))
    return _SECRET.sub(r"\1***", bare)


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
        case socket.gaierror():
            return "no such host"
        case http.client.RemoteDisconnected() | ConnectionResetError():
            return "it ended the connection"
        case OSError() if error.strerror:
            return error.strerror.lower()
        case _:
            return " ".join(str(error).split())[:100] or "its answer is not HTTP"
