"""What can be wrong with a frame of a camera or stream, and how it is counted.

damaged    it did not arrive whole: cut off, spliced, or its JPEG does not decode without complaint
refused    its size cannot be analysed (`ckd.picture.limits`), or it never ends
late       the time since the frame before it is over `LATE_FACTOR` typical intervals, and over
           `LATE_AFTER_S`; typical is the median of the last `NUM_INTERVALS`, once there are
           `MIN_INTERVALS` on one connection
repeated   the same bytes as the frame before it; without JPEG, the same pixels
resized    another size than the frame before it

Damaged and refused frames are never analysed. All others are: a repeated frame gives the answer
of the frame before it again, and the first one of a new size is a frame as any other. Frames of a
recording are not late, repeated or resized. All times are of `time.monotonic`.
"""

from collections import Counter, deque
from collections.abc import Mapping
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

FaultKind = Literal["damaged", "refused", "late", "repeated", "resized"]

LATE_FACTOR = 3.0
LATE_AFTER_S = 0.1
NUM_INTERVALS, MIN_INTERVALS = 15, 5
_SHOWN: dict[FaultKind, str] = {
    "damaged": "damaged",
    "refused": "refused for their size",
    "late": "late",
    "repeated": "repeated",
    "resized": "resized",
}


class Grabbed(NamedTuple):
    """A picture as it comes from a reader, before somebody asks for it.

    Attributes:
        image: uint8 HWC, in OpenCV's channel order (BGR) unless ``is_rgb``.
        captured_s: when it was grabbed, or began to arrive.
        jpeg: what it was decoded from, if the source sent a JPEG or PNG.
        is_rgb: True if ``image`` is RGB.
    """

    image: NDArray[np.uint8]
    captured_s: float
    jpeg: bytes | None = None
    is_rgb: bool = False


class FrameFault(Exception):
    """A reader raises it in place of a frame that must not be analysed; the next may be well.

    Args:
        kind: "damaged" or "refused".
        reason: a clause for people, such as "cut off".
        captured_s: when the frame arrived.
    """

    def __init__(self, kind: FaultKind, reason: str, captured_s: float) -> None:
        super().__init__(reason)
        self.kind = kind
        self.captured_s = captured_s


class FaultCounter:
    """Counts the faults of one source. Not safe for several threads."""

    def __init__(self) -> None:
        self._counts: Counter[FaultKind] = Counter()
        self._intervals_s: deque[float] = deque(maxlen=NUM_INTERVALS)
        self._last_s: float | None = None  # of the last frame on this connection, whole or not
        self._last: Grabbed | None = None  # the last one that was whole

    @property
    def counts(self) -> Mapping[FaultKind, int]:
        """A copy, in the order of `FaultKind`, without kinds that did not happen."""
        return {kind: self._counts[kind] for kind in _SHOWN if self._counts[kind]}

    @property
    def typical_s(self) -> float | None:
        """The median interval between frames; None until some were seen."""
        enough = len(self._intervals_s) >= MIN_INTERVALS
        return median(self._intervals_s) if enough else None

    @property
    def expected_s(self) -> float | None:
        """`typical_s`, or until there is one the least interval; None if there was none yet."""
        return self.typical_s or min(self._intervals_s, default=None)

    def reconnected(self) -> None:
        """Forget when the last frame came: the next one was not expected at any time."""
        self._last_s = None
        self._intervals_s.clear()

    def unusable(self, fault: FrameFault) -> None:
        """Count a frame that must not be analysed."""
        self._counts[fault.kind] += 1
        self._is_late(fault.captured_s)  # so that the next one is not late for it

    def usable(self, grabbed: Grabbed) -> None:
        """Count what is remarkable about a frame that arrived whole."""
        self._counts["late"] += self._is_late(grabbed.captured_s)
        if self._last is not None:
            is_resized = grabbed.image.shape[:2] != self._last.image.shape[:2]
            self._counts["resized"] += is_resized
            self._counts["repeated"] += not is_resized and _is_same(grabbed, self._last)
        self._last = grabbed

    def _is_late(self, captured_s: float) -> bool:
        typical_s, last_s, self._last_s = self.typical_s, self._last_s, captured_s
        if last_s is None:
            return False
        gap_s = captured_s - last_s
        self._intervals_s.append(gap_s)
        return typical_s is not None and gap_s > max(LATE_FACTOR * typical_s, LATE_AFTER_S)


def faults_shown(counts: Mapping[FaultKind, int]) -> str:
    """The counts for people, such as "3 damaged, 1 late"; an empty text if there are none."""
    return ", ".join(f"{counts[kind]} {_SHOWN[kind]}" for kind in _SHOWN if counts.get(kind))


def _is_same(one: Grabbed, other: Grabbed) -> bool:
    if one.jpeg is not None and other.jpeg is not None:
        return one.jpeg == other.jpeg
    few = slice(None, None, 64)  # most pictures differ in these rows already
    return bool(
        np.array_equal(one.image[few], other.image[few]) and np.array_equal(one.image, other.image)
    )
