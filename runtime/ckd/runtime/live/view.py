"""What the loop hands to a view, and what it expects of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ckd.runtime.sources.frames import Frame, SourceState

#: Shown wherever a result is.
RESEARCH_NOTICE = "For research use only. Not a medical device; do not use it to diagnose."


class FindingLike(Protocol):
    """What a view reads of the analysis of one frame."""

    @property
    def mask_HW(self) -> NDArray[np.bool_]:
        """True on the lesion, in pixels of the frame."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Probability by label, in the order to show them."""

    @property
    def top(self) -> str:
        """The most probable label."""

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """How long each part took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatistics:
    """How the loop is doing. Rates and latencies are of the last frames, not of the whole run.

    Latency runs from the grab of a frame to its finding; drawing and display come on top.
    """

    num_analysed: int = 0
    num_dropped: int = 0
    elapsed_s: float = 0.0
    fps: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The source and the loop, at one moment."""

    state: SourceState
    detail: str = ""
    statistics: LiveStatistics = LiveStatistics()


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One analysed frame. The arrays are shared between views: read only."""

    frame: Frame
    finding: FindingLike
    overlay_HWC: NDArray[np.uint8]  # RGB


#: Stores what is shown and returns the file to tell the user of.
Saver = Callable[[Shown], Path]


class View(Protocol):
    """A place where results are looked at."""

    @property
    def closed(self) -> bool:
        """True once the user has closed it; the loop then ends."""

    def update(self, status: Status, shown: Shown | None) -> None:
        """A new result, or with None just the present state; called several times a second."""


def result_json(shown: Shown) -> dict[str, Any]:
    """A result in the words of the JSON that all commands print."""
    finding = shown.finding
    height, width = shown.frame.size_hw
    return {
        "frame": shown.frame.index,
        "size_hw": [height, width],
        "top": finding.top,
        "probabilities": {label: float(p) for label, p in finding.probabilities.items()},
        "lesion_area_px": int(np.count_nonzero(finding.mask_HW)),
        "timings_ms": {part: float(taken) for part, taken in finding.timings_ms.items()},
    }
