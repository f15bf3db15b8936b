"""Auto-capture as a view: of a second of good frames the sharpest one is saved."""

from collections.abc import Callable
from typing import Final

from ckd.finding.left_out import DIAGNOSIS
from ckd.runtime.closing import Closing
from ckd.runtime.live.saving import FrameWriter
from ckd.runtime.live.view import Saver, Shown, Status

#: Seconds for which every frame must have been good.
GOOD_S: Final = 1.0
#: Seconds without a frame after which the picture has not been good all the time.
_GAP_S: Final = 0.5


class AutoCapture(Closing):
    """Saves one frame of each look at a lesion.

    A look ends with a frame that has a hint, or no answer, or shows another lesion; the next one
    may then be saved. Frames whose capture was not judged are never saved.

    Args:
        save: writes a frame.
        say: told what was saved, or why it was not.
    """

    closed = False  # it ends nothing

    def __init__(self, save: Saver, say: Callable[[str], None]) -> None:
        self._writer = FrameWriter("auto-capture", save, say)
        self._sharpest: Shown | None = None
        self._since_s: float | None = None
        self._last_s = 0.0
        self._is_saved = False

    def update(self, status: Status, shown: Shown | None) -> None:
        """Take note of a frame, and save the sharpest one when it is time."""
        if shown is None:
            return
        captured_s = shown.frame.captured_s
        if not _is_good(shown) or _begins(shown) or captured_s - self._last_s > _GAP_S:
            self._sharpest, self._since_s, self._is_saved = None, None, False
        self._last_s = captured_s
        if not _is_good(shown) or self._is_saved:
            return
        if self._sharpest is None or _sharpness(shown) > _sharpness(self._sharpest):
            self._sharpest = shown
        if self._since_s is None:
            self._since_s = captured_s
        if captured_s - self._since_s >= GOOD_S:
            self._writer.put(self._sharpest)
            self._sharpest, self._is_saved = None, True

    def close(self) -> None:
        """Wait until all is written. May be called twice."""
        self._writer.close()


def _is_good(shown: Shown) -> bool:
    capture = shown.finding.capture
    finding = shown.finding
    is_own = finding.reason is None and not finding.is_held and DIAGNOSIS not in finding.left_out
    return capture is not None and capture.good and is_own


def _begins(shown: Shown) -> bool:
    """Whether this is the first frame of a lesion."""
    pooled = shown.finding.pooled
    return pooled is not None and pooled.frames == 1


def _sharpness(shown: Shown) -> float:
    capture = shown.finding.capture
    return -float("inf") if capture is None else capture.scores.get("focus", 0.0)
