"""The live view: newest frame in, analysed and drawn, out to a window, a web page and a recording.

run_live        the loop
open_views      the views that a command asks for
WebView         a page on this machine's loopback address, for any browser
WindowView      a desktop window
save_snapshot   writes what the save button is pressed for
"""

from ckd.runtime.live.loop import LiveReport, run_live
from ckd.runtime.live.open_views import ViewKind, open_views
from ckd.runtime.live.snapshot import save_snapshot
from ckd.runtime.live.view import LiveStatistics, Saver, Shown, Status, View
from ckd.runtime.live.web import WebView
from ckd.runtime.live.window import WindowView

__all__ = [
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
