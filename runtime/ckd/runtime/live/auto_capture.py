"""Auto-capture as a view: of a second of good frames the sharpest one is saved."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ckd.finding.left_out import DIAGNOSIS
from ckd.finding.overlay import draw_overlay
from ckd.runtime.closing import Closing
from ckd.runtime.live.saving import FrameWriter
from ckd.runtime.live.view import Saver, Shown, Status
from ckd.runtime.sinks.drawn import Drawn

#: Seconds for which every frame must have been good.
GOOD_S: Final = 1.0
#: Seconds without a frame after which the picture has not been good all the time.
_GAP_S: Final = 0.5


class AutoCapture(Closing):
    """Saves one frame of each look at a lesion, with the answer that it has come to by then.

    A frame is saved once every frame has been good for `GOOD_S` seconds, nobody is told a hint any
    more, and the answer is settled. A look ends when people are told a hint, another lesion is
    shown, nothing can be judged, or no frame comes; the next one may then be saved. Frames whose
    capture was not judged, or that have no diagnosis, are never saved.

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
        if _ends(shown) or captured_s - self._last_s > _GAP_S:
            self._is_saved = False
        if not _is_good(shown) or _begins(shown) or captured_s - self._last_s > _GAP_S:
            self._sharpest, self._since_s = None, None
        self._last_s = captured_s
        if not _is_good(shown) or self._is_saved:
            return
        if self._sharpest is not None:  # its answer may not have been in what is pooled now
            is_old = captured_s - self._sharpest.frame.captured_s > GOOD_S
            self._sharpest = None if is_old else self._sharpest
        if self._sharpest is None or _sharpness(shown) > _sharpness(self._sharpest):
            self._sharpest = shown
        if self._since_s is None:
            self._since_s = captured_s
        if captured_s - self._since_s >= GOOD_S and _is_settled(shown):
            self._writer.put(_with_answer_of(self._sharpest, shown))
            self._sharpest, self._is_saved = None, True

    def close(self) -> None:
        """Wait until all is written. May be called twice."""
        self._writer.close()

    def check(self) -> None:
        """Raise if a frame could not be saved.

        Raises:
            CkdError: the last reason why not.
        """
        self._writer.check()


def _is_good(shown: Shown) -> bool:
    finding, capture = shown.finding, shown.finding.capture
    is_own = finding.reason is None and not finding.is_held and DIAGNOSIS not in finding.left_out
    return capture is not None and capture.good and not capture.told and is_own


def _begins(shown: Shown) -> bool:
    """Whether this is the first frame of a lesion."""
    pooled = shown.finding.pooled
    return pooled is not None and pooled.frames == 1


def _ends(shown: Shown) -> bool:
    """Whether a look at a lesion ends: a single bad frame does not end it."""
    finding = shown.finding
    is_told = finding.capture is not None and bool(finding.capture.told)
    return is_told or finding.reason is not None or _begins(shown)


def _is_settled(shown: Shown) -> bool:
    pooled = shown.finding.pooled
    return pooled is not None and pooled.settled


def _with_answer_of(sharpest: Shown, now: Shown) -> Shown:
    """The sharpest frame and its outline, with the answer over all frames up to now."""
    finding = replace(
        sharpest.finding,
        probabilities=now.finding.probabilities,
        fitted=now.finding.fitted,
        decision=now.finding.decision,
        pooled=now.finding.pooled,
    )
    image_HWC = sharpest.frame.image_HWC
    return Shown(sharpest.frame, finding, Drawn(lambda: draw_overlay(image_HWC, finding)))


def _sharpness(shown: Shown) -> float:
    capture = shown.finding.capture
    return -float("inf") if capture is None else capture.scores.get("focus", 0.0)
