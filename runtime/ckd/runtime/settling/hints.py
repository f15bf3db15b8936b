"""The hint that people are told does not flicker: it comes and goes only when frames agree."""

from typing import Final

from ckd.finding.capture import Capture

#: For so many seconds all frames must have other hints before one is told, and none before it
#: goes; two frames at least, so that of a slow camera no single one counts.
COMES_S: Final = 0.09
GOES_S: Final = 0.22
_LEAST_FRAMES: Final = 2


class SteadyHint:
    """The hint of a camera's frames that people are told."""

    def __init__(self) -> None:
        self._told = ""
        self._others, self._good = _Run(), _Run()

    def told(self, capture: Capture, captured_s: float) -> str:
        """The hint to tell after one more frame, which was grabbed then; empty for none."""
        is_good = capture.good
        if self._good.lasts(captured_s, GOES_S, goes_on=is_good):
            self._told = ""
        is_other = not is_good and self._told not in capture.hints
        if self._others.lasts(captured_s, COMES_S, goes_on=is_other):
            self._told = capture.hints[0]
            self._others = _Run()
        return self._told


class _Run:
    """Frames in a row of which something holds."""

    def __init__(self) -> None:
        self._since_s, self._frames = 0.0, 0

    def lasts(self, now_s: float, least_s: float, *, goes_on: bool) -> bool:
        """Whether the run is so long after one more frame, of which it holds or does not."""
        if not goes_on:
            self._frames = 0
            return False
        if not self._frames:
            self._since_s = now_s
        self._frames += 1
        return self._frames >= _LEAST_FRAMES and now_s - self._since_s >= least_s
