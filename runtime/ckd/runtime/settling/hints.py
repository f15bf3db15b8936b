"""The hint that people are told does not flicker: it comes and goes only when frames agree."""

from typing import Final

from ckd.finding.capture import Capture

#: So many frames in a row must have other hints before one is told, and none before it goes.
_COMES: Final = 4
_GOES: Final = 8


class SteadyHint:
    """The hint of a camera's frames that people are told."""

    def __init__(self) -> None:
        self._told = ""
        self._num_others = self._num_good = 0

    def told(self, capture: Capture) -> str:
        """The hint to tell after one more frame; empty for none."""
        if capture.good:
            self._num_others, self._num_good = 0, self._num_good + 1
            if self._num_good >= _GOES:
                self._told = ""
            return self._told
        self._num_good = 0
        self._num_others = 0 if self._told in capture.hints else self._num_others + 1
        if self._num_others >= _COMES:
            self._told, self._num_others = capture.hints[0], 0
        return self._told
