"""The views that a command asks for by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from ckd.runtime.live.view import Saver, View
from ckd.runtime.live.web import WebView
from ckd.runtime.live.window import WindowView

ViewKind = Literal["web", "window", "none"]


@contextmanager
def open_views(
    kind: ViewKind,
    *,
    host: str,
    port: int,
    source_name: str,
    save: Saver,
    say: Callable[[str], None],
    pressed: Callable[[str, str], None] = lambda view, key: None,
    token: str | None = None,
) -> Iterator[list[View]]:
    """Open the view of a kind, if any, and close it at the end of a ``with`` block.

    Args:
        kind: "web" for a page in the browser, "window" for a desktop window, or "none".
        host: address of the web view.
        port: of the web view; 0 for any free one.
        source_name: shown in the web view.
        save: what the save button does.
        say: told where the web view is.
        pressed: told in which view a key or button was pressed, and what it does.
        token: that the address of the web view must have; None to draw one where it is needed.

    Raises:
        UsageError: the web view cannot listen there.
        EnvironmentUnusable: this machine has no windows.
    """
    if kind == "web":
        with WebView(
            host=host, port=port, source_name=source_name, save=save,
            pressed=partial(pressed, kind), token=token,
        ) as web:  # fmt: skip
            say(f"live view: {web.url}  (Ctrl-C ends it)")
            yield [web]
    elif kind == "window":
        with WindowView(save=save, pressed=partial(pressed, kind)) as window:
            yield [window]
    else:
        yield []
