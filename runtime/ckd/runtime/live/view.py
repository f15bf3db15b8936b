"""What the loop gives to a view, and what it needs of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ckd.finding.finding import Finding
from ckd.runtime.sinks.drawn import Drawn
from ckd.runtime.sinks.recording_state import RecordingState
from ckd.runtime.sources.faults import FaultKind
from ckd.runtime.sources.frames import Frame, SourceState


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatistics:
    """Counts, rate and latency of the loop; the last two are of the latest frames only.

    Latency runs from the grab of a frame to its finding; drawing and display come on top. Of the
    frames analysed, the unusable ones have no finding, as a network gave no finite numbers. Faults
    are those of the source (`ckd.runtime.sources.faults`).
    """

    num_analysed: int = 0
    num_unusable: int = 0
    num_dropped: int = 0
    faults: Mapping[FaultKind, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    fps: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """State of the source, the loop and the recording, if any, at one moment.

    With "no answer" the source is live and its newest frame was unusable, so that what is still
    shown is old. ``journal`` says why the journal leaves frames out; it is empty if none does.
    """

    state: SourceState | Literal["no answer"]
    detail: str = ""
    statistics: LiveStatistics = LiveStatistics()
    recording: RecordingState | None = None
    journal: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One analysed frame. Views share the arrays and must not change them.

    The overlay is drawn when a view or a recording first asks for it, and encoded once for all.
    """

    frame: Frame
    finding: Finding
    overlay: Drawn

    @property
    def overlay_HWC(self) -> NDArray[np.uint8]:
        """The overlay, uint8 RGB [H, W, 3]."""
        return self.overlay.image_HWC


#: Saves an analysed frame; gives the file to name to the user.
Saver = Callable[[Shown], Path]


class View(Protocol):
    """A place where people look at findings."""

    @property
    def closed(self) -> bool:
        """True once the user has closed the view; then the loop ends."""

    def update(self, status: Status, shown: Shown | None) -> None:
        """Show a new finding, or only the state if ``shown`` is None.

        Called several times a second.
        """


def finding_json(shown: Shown) -> dict[str, Any]:
    """A finding as all commands print it as JSON, with facts about its frame."""
    return {"frame": shown.frame.index, **shown.frame.about, **shown.finding.as_dict()}
