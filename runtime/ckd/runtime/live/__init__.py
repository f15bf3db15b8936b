"""The live view: newest frame in, analysed and drawn, out to a window, a web page and a recording.

run_live        the loop
open_views      the views that a command asks for
WebView         a page on this machine's loopback address, for any browser
WindowView      a desktop window
ButtonView      the handle's button
AutoCapture     saves the sharpest frame of a good second
save_snapshot   writes what the save button is pressed for
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.live.auto_capture import AutoCapture
    from ckd.runtime.live.loop import LiveReport, run_live
    from ckd.runtime.live.opening import ViewKind, open_views
    from ckd.runtime.live.pressing import ButtonView
    from ckd.runtime.live.snapshot import save_snapshot
    from ckd.runtime.live.view import LiveStatistics, Saver, Shown, Status, View
    from ckd.runtime.live.web import VIEW_TOKEN, WebView
    from ckd.runtime.live.window import WindowView
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.live.auto_capture": "AutoCapture",
            "ckd.runtime.live.loop": "LiveReport run_live",
            "ckd.runtime.live.opening": "ViewKind open_views",
            "ckd.runtime.live.pressing": "ButtonView",
            "ckd.runtime.live.snapshot": "save_snapshot",
            "ckd.runtime.live.view": "LiveStatistics Saver Shown Status View",
            "ckd.runtime.live.web": "VIEW_TOKEN WebView",
            "ckd.runtime.live.window": "WindowView",
        },
    )

__all__ = [
    "VIEW_TOKEN",
    "AutoCapture",
    "ButtonView",
    "LiveReport",
    "LiveStatistics",
    "Saver",
    "Shown",
    "Status",
    "View",
    "ViewKind",
    "WebView",
    "WindowView",
    "open_views",
    "run_live",
    "save_snapshot",
]
