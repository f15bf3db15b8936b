"""What the loop hands to a view, and what it expects of one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ckd.finding.finding import Finding
from ckd.runtime.sources.frames import Frame, SourceState


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
    finding: Finding
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
    """A result in the words of the JSON that all commands print, and which frame it is of."""
    return {"frame": shown.frame.index, **shown.finding.as_dict()}
