"""The live loop: newest frame -> analyse -> draw -> views and recorder, until told to stop.

The networks run in a thread of their own: they have the next frame while the finding of the one
before is made, settled, written and shown, which keeps a second core busy.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import SourceUnavailable
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.finding.sentences import shown as sentence_shown
from ckd.runtime.live.view import LiveStatistics, Shown, Status, View
from ckd.runtime.settling import Settler
from ckd.runtime.sinks.drawn import Drawn
from ckd.runtime.sinks.recorder import Recorder
from ckd.runtime.sources.faults import faults_shown
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState

if TYPE_CHECKING:
    from ckd.runtime.journal import Journal

#: What makes the finding of an image whose networks have run.
MakeFinding: TypeAlias = Callable[[], Finding]
StoppedBy = Literal["max frames", "duration", "source ended", "interrupted", "view closed"]

#: Longest wait for a frame, after which the views are updated and may end the loop.
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class LiveReport:
    """How a run went and why it ended.

    A frame that the networks have when somebody ends it is counted nowhere.
    """

    stopped_by: StoppedBy
    statistics: LiveStatistics

    @property
    def summary(self) -> str:
        """One line for the person who watched."""
        figures, latency = self.statistics, ""
        if figures.latency_p50_ms is not None:
            latency = f", latency {figures.latency_p50_ms:.0f} ms"
        faults = f", {shown}" if (shown := faults_shown(figures.faults)) else ""
        unusable = f", {figures.num_unusable} without usable numbers" * bool(figures.num_unusable)
        return (
            f"{self.stopped_by}: {figures.num_analysed} frames analysed, {figures.num_dropped} "
            f"dropped{unusable}{faults}{latency}"
        )


def run_live(
    source: FrameSource,
    begin: Callable[[NDArray[np.uint8]], MakeFinding],
    draw: Callable[[NDArray[np.uint8], Finding], NDArray[np.uint8]],
    *,
    views: Sequence[View] = (),
    recorder: Recorder | None = None,
    journal: "Journal | None" = None,
    settler: Settler | None = None,
    on_finding: Callable[[Frame, Finding], None] | None = None,
    max_frames: int | None = None,
    duration_s: float | None = None,
) -> LiveReport:
    """Analyse frames until a limit, the end of the source, a closed view or Ctrl-C.

    The caller closes source, views and recorder. All happens in the calling thread, except that
    another takes frames and calls ``begin``. An overlay is drawn when a view or the recorder asks
    for it. A frame whose finding raises `NotFinite` is counted and not shown; what else the
    functions given here raise ends the loop and is raised.

    Args:
        source: gives the newest frame.
        begin: runs the networks on an image, uint8 RGB HWC, and gives what makes its finding
            (`ckd.runtime.cascade.Cascade.begin`).
        draw: gives the overlay of an image and its finding, uint8 RGB HWC; a view may call it in
            a thread of its own.
        views: told of every finding, and several times a second of the source's state.
        recorder: gets every overlay.
        journal: gets every analysed frame and its own finding, also those without one.
        settler: makes one answer of the frames, which everybody but the journal gets.
        on_finding: called with every frame and its finding.
        max_frames: number of frames after which the loop ends.
        duration_s: time after which the loop ends.

    Raises:
        SourceUnavailable: the source failed for good.
    """
    meter = _Meter(source, recorder, journal)
    stopped_by: StoppedBy | None = None
    try:
        with ThreadPoolExecutor(1, "networks") as networks:
            coming = networks.submit(_take, source, begin, POLL_S)
            while stopped_by is None:
                frame, make_finding, has_ended = coming.result()
                left_s = POLL_S if duration_s is None else duration_s - meter.elapsed_s
                is_last = make_finding is not None and meter.num_analysed + 1 == max_frames
                if left_s > 0 and not is_last:
                    coming = networks.submit(_take, source, begin, min(left_s, POLL_S))
                shown: Shown | None = None
                finding: Finding | None = None
                if frame is not None and make_finding is not None:
                    own: Finding | None = None
                    with suppress(NotFinite):  # the next frame may be well again
                        own = make_finding()
                        finding = own if settler is None else settler.settle(own, frame.captured_s)
                    meter.count(frame, is_usable=own is not None)
                    if journal is not None:
                        journal.add(frame, own, None if settler is None else settler.state)
                if frame is not None and finding is not None:
                    if on_finding is not None:
                        on_finding(frame, finding)
                    overlay = Drawn(partial(draw, frame.image_HWC, finding))
                    shown = Shown(frame, finding, overlay)
                    if recorder is not None:
                        recorder.write(overlay, frame.captured_s)
                for view in views:
                    view.update(meter.status(), shown)
                if any(view.closed for view in views):
                    stopped_by = "view closed"
                elif is_last:
                    stopped_by = "max frames"
                elif frame is None and has_ended:
                    stopped_by = "source ended"
                elif left_s <= 0:
                    stopped_by = "duration"
    except KeyboardInterrupt:
        stopped_by = "interrupted"
    except SourceUnavailable:
        for view in views:
            view.update(meter.status(), None)  # show the failure before the views are closed
        raise
    return LiveReport(stopped_by, meter.statistics())


def _take(
    source: FrameSource, begin: Callable[[NDArray[np.uint8]], MakeFinding], timeout_s: float
) -> tuple[Frame | None, MakeFinding | None, bool]:
    """The newest frame, what makes its finding, and whether the source has ended."""
    frame, has_ended = source.get(timeout_s), False
    if frame is None and (has_ended := source.state == "ended"):
        frame = source.get(0)  # one may have arrived between the two calls
    return frame, None if frame is None else begin(frame.image_HWC), has_ended


class _Meter:
    """Counts, rate and latency, in memory that does not grow with the length of the run."""

    def __init__(
        self, source: FrameSource, recorder: Recorder | None, journal: "Journal | None"
    ) -> None:
        self.num_analysed = 0
        self._num_unusable, self._is_usable = 0, True
        self._source, self._recorder, self._journal = source, recorder, journal
        self._started_s = time.monotonic()
        self._latencies_ms: deque[float] = deque(maxlen=300)
        self._finished_s: deque[float] = deque(maxlen=60)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def count(self, frame: Frame, *, is_usable: bool) -> None:
        now_s = time.monotonic()
        self.num_analysed += 1
        self._num_unusable += not is_usable
        self._is_usable = is_usable
        self._latencies_ms.append(1e3 * (now_s - frame.captured_s))
        self._finished_s.append(now_s)

    def status(self) -> Status:
        statistics = self.statistics()
        recording = None if self._recorder is None else self._recorder.state
        journal = "" if self._journal is None else self._journal.problem
        state: SourceState | Literal["no answer"] = self._source.state
        detail = self._source.detail
        if state == "live" and not self._is_usable:
            state, detail = "no answer", sentence_shown("not_finite")
        return Status(
            state=state, detail=detail, statistics=statistics, recording=recording, journal=journal
        )

    def statistics(self) -> LiveStatistics:
        p50_ms = p90_ms = fps = None
        if self._latencies_ms:
            p50_ms, p90_ms = map(float, np.percentile(self._latencies_ms, [50, 90]))
        if len(self._finished_s) > 1:
            now_s, last_s = time.monotonic(), self._finished_s[-1]
            until_s = last_s if now_s - last_s < 1 else now_s  # falls while the source is silent
            fps = (len(self._finished_s) - 1) / (until_s - self._finished_s[0])
        return LiveStatistics(
            num_analysed=self.num_analysed,
            num_unusable=self._num_unusable,
            num_dropped=self._source.dropped,
            faults=self._source.faults,
            elapsed_s=self.elapsed_s,
            fps=fps,
            latency_p50_ms=p50_ms,
            latency_p90_ms=p90_ms,
        )
