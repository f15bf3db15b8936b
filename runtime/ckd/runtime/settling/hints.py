"""The hint that people are told does not flicker: it comes and goes only when frames agree."""

from typing import Final

from ckd.finding.capture import Capture

#: So many frames in a row must have a hint first before it is told, and none before it goes.
_COMES: Final = 4
_GOES: Final = 8


class SteadyHint:
    """The first hint of a camera's frames, steadied."""

    def __init__(self) -> None:
        self._told = self._next = ""
        self._num_next = 0

    def told(self, capture: Capture) -> str:
        """The hint to tell after one more frame; empty for none."""
        first = capture.hints[0] if capture.hints else ""
        if first == self._told:
            self._num_next = 0
            return self._told
        self._num_next = self._num_next + 1 if first == self._next else 1
        self._next = first
        if self._num_next >= (_COMES if first else _GOES):
            self._told = first
        return self._told
