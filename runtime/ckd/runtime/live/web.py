"""The web view: results in any browser on this machine, with nothing to install."""

import ipaddress
import secrets

from ckd.contract.errors import UsageError
from ckd.runtime.closing import Closing
from ckd.runtime.live.view import Saver, Shown, Status
from ckd.runtime.live.web_board import Board
from ckd.runtime.live.web_server import ViewServer


class WebView(Closing):
    """Serves the page from construction until `close`; `url` is where.

    On a loopback address (the default) only this machine can look. On any other, the address holds
    a random token, without which nothing is shown; the connection is not encrypted.

    Args:
        host: a local address to bind; "0.0.0.0" for all of this machine's.
        port: 0 lets the system choose.
        source_name: shown in the page's head.
        save: what the save button does; None hides it.
        max_streams: browsers that can watch at a time.
        max_side_px: larger pictures are shrunk before they are sent; saved ones are not.

    Raises:
        UsageError: the address cannot be bound.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        source_name: str = "",
        save: Saver | None = None,
        max_streams: int = 4,
        max_side_px: int = 1280,
    ) -> None:
        token = None if _is_loopback(host) else secrets.token_urlsafe(16)
        self._board = Board(source_name, save, max_side_px)
        try:
            self._server = ViewServer((host, port), self._board, token, max_streams)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"web view: cannot listen on {host}:{port} ({error}); choose another port"
            ) from error
        bracketed = f"[{host}]" if ":" in host else host
        query = "" if token is None else f"?token={token}"
        self.url = f"http://{bracketed}:{self._server.server_port}/{query}"
        self._closed = False

    @property
    def closed(self) -> bool:
        """False until `close`: a browser that leaves may come back."""
        return self._closed

    def update(self, status: Status, shown: Shown | None) -> None:
        """Show a result, or just the state."""
        self._board.publish(status, shown)

    def close(self) -> None:
        """Stop serving; returns once every connection and thread has ended. May be called twice."""
        if not self._closed:
            self._closed = True
            self._server.close()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
