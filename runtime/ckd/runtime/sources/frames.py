"""One frame, and the interface of all sources of frames.

Suffixes: H rows, W columns, C channels in RGB order. Times ending in ``_s`` are seconds of
`time.monotonic`: their differences are right also when the clock is set.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckd.runtime.closing import Closing
from ckd.runtime.sources.faults import FaultKind

#: A source with "no signal" was live and may come back; a "failed" one will not.
SourceState = Literal["connecting", "live", "no signal", "ended", "failed"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture that arrived whole. The source does not write to the array again."""

    image_HWC: NDArray[np.uint8]
    index: int  # counts the frames of the source from 0; a gap is a dropped frame
    captured_s: float  # when it was grabbed
    jpeg: bytes | None = None  # or a PNG: as the camera sent it, where we decoded it ourselves
    position_s: float | None = None  # in a recording, from its first frame
    unit: Mapping[str, Any] | None = None  # what a camera unit says of it, as in JSON

    @property
    def about(self) -> dict[str, Any]:
        """Facts about it for JSON, beside its finding."""
        return {} if self.unit is None else {"unit": dict(self.unit)}

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image_HWC.shape[0], self.image_HWC.shape[1]


class FrameSource(Closing):
    """Gives frames one by one. Close it, or use it in a ``with`` statement.

    Iterating gives frames until the source ends, and raises if it fails.
    """

    name: str  # may be shown to people: it holds no password

    @property
    def label(self) -> str:
        """What stands in journals and on pages: the name of a camera, and of a file none.

        See `ckd.runtime.sources.names`.
        """
        return self.name

    @property
    @abstractmethod
    def state(self) -> SourceState:
        """The present state of the source."""

    @property
    @abstractmethod
    def detail(self) -> str:
        """One line about `state` for people, or an empty text."""

    @property
    @abstractmethod
    def fps(self) -> float | None:
        """Frames per second as the source states it; None if it does not."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Number of frames that were replaced by a newer one before they were taken."""

    @property
    def faults(self) -> Mapping[FaultKind, int]:
        """What was wrong with frames, by kind (`ckd.runtime.sources.faults`); no kind has 0."""
        return {}

    @abstractmethod
    def get(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame; None after the time-out, or at the end (`state` tells which).

        Raises:
            SourceUnavailable: the source cannot be opened, or was lost and did not come back.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device and any thread. May be called twice."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.get()) is not None:
            yield frame
