"""The web view: findings in any browser on this machine, without installing anything."""

import ipaddress
import re
import secrets
from collections.abc import Callable
from typing import Final

from ckd.contract.errors import UsageError
from ckd.runtime.closing import Closing
from ckd.runtime.live.view import Saver, Shown, Status
from ckd.runtime.live.web_board import Board
from ckd.runtime.live.web_server import ViewServer

#: Names the token of the page, so that it is nowhere printed.
VIEW_TOKEN: Final = "CKD_VIEW_TOKEN"
_TOKEN: Final = re.compile(r"[\w-]{16,200}", re.ASCII)


class WebView(Closing):
    """Serves a page at `url` from construction until `close`.

    On a loopback address (the default) only this machine can see the page. On any other, the
    address contains a random token, without which nothing is shown; the connection is not
    encrypted.

    Args:
        host: a local address to bind; "0.0.0.0" for all addresses of this machine.
        port: to listen on; 0 for any free one.
        source_name: shown at the top of the page.
        save: what the save button does; None hides it.
        pressed: told what a button does: "freeze", "unfreeze" or "save"; in a browser's thread.
        max_streams: number of browsers that can watch at the same time.
        max_side_px: larger pictures are shrunk before they are sent; saved ones are not. Up to it
            a picture that is recorded is sent as it was encoded for the recording.
        token: that the address must have, on a loopback address too; None to draw one where it is
            needed.

    Attributes:
        url: address of the page, to be printed: with a token that was drawn, as nobody knows it
            yet, and without one that was given.

    Raises:
        UsageError: the address cannot be bound, or the token is short or of other characters.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        source_name: str = "",
        save: Saver | None = None,
        pressed: Callable[[str], None] = lambda key: None,
        max_streams: int = 4,
        max_side_px: int = 1920,
        token: str | None = None,
    ) -> None:
        is_drawn = token is None and not _is_loopback(host)
        if is_drawn:
            token = secrets.token_urlsafe(16)
        if token is not None and not _TOKEN.fullmatch(token):
            raise UsageError(f"{VIEW_TOKEN}: expected 16 to 200 letters, digits, - or _")
        self._board = Board(source_name, save, max_side_px, pressed)
        try:
            self._server = ViewServer((host, port), self._board, token, max_streams)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"web view: cannot listen on {host}:{port} ({error}); choose another port"
            ) from error
        bracketed = f"[{host}]" if ":" in host else host
        query = "" if token is None else f"?token={token if is_drawn else '***'}"
        self.url = f"http://{bracketed}:{self._server.server_port}/{query}"
        self._closed = False

    @property
    def closed(self) -> bool:
        """True after `close`; a browser that disconnects may come back, so it ends nothing."""
        return self._closed

    def update(self, status: Status, shown: Shown | None) -> None:
        """Show a finding, or only the state if ``shown`` is None."""
        self._board.publish(status, shown)

    def close(self) -> None:
        """Stop serving, after all connections and threads have ended. May be called twice."""
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
