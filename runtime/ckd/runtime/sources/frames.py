"""One frame, and what every source of frames offers.

Suffixes: H rows, W columns, C channels in RGB order. Times ending in ``_s`` are seconds of
`time.monotonic`: they can be subtracted from each other, and no clock change disturbs them.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ckd.runtime.closing import Closing

#: "no signal" is a source that was live, is silent now, and may come back; "failed" will not.
SourceState = Literal["connecting", "live", "no signal", "ended", "failed"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture. The array belongs to whoever took the frame; no source writes to it again."""

    image_HWC: NDArray[np.uint8]
    index: int  # counts the frames of the source from 0; a gap is a dropped frame
    captured_s: float  # when it was grabbed

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image_HWC.shape[0], self.image_HWC.shape[1]


class FrameSource(Closing):
    """Frames one by one. Close it, or use it in a ``with`` statement.

    Iterating yields frames until the source ends, and raises if it fails.
    """

    name: str  # fit to be shown: holds no password

    @property
    @abstractmethod
    def state(self) -> SourceState:
        """What the source is doing now."""

    @property
    @abstractmethod
    def detail(self) -> str:
        """One line about `state` for the person watching, or nothing."""

    @property
    @abstractmethod
    def fps(self) -> float | None:
        """Frames per second as the source states it; None where it does not."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Frames that arrived and were replaced by a newer one before anybody took them."""

    @abstractmethod
    def get(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame; None after the time-out or at the end (`state` tells which).

        Raises:
            SourceUnavailable: the source cannot be opened, or has gone and did not come back.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device and any thread. May be called twice."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.get()) is not None:
            yield frame
