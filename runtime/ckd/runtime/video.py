"""A whole video file: every frame analysed, its row in the CSV, and drawings as videos."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ckd.finding.explanation import draw_explanation
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.finding.overlay import draw_overlay
from ckd.runtime.cascade import Cascade
from ckd.runtime.sinks import Recorder, ResultFolder
from ckd.runtime.sources import Frame, VideoFile

if TYPE_CHECKING:
    from ckd.runtime.journal import Journal

#: Gives a picture of an image and its finding, uint8 RGB HWC.
Draw = Callable[[NDArray[np.uint8], Finding], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class VideoReport:
    """How much of a video file was analysed, how long it took, and where the overlay is."""

    num_frames: int
    elapsed_s: float
    overlay: Path

    @property
    def summary(self) -> str:
        """One line for the person who started it."""
        fps = self.num_frames / max(self.elapsed_s, 1e-6)
        return f"{self.num_frames} frames, {fps:.1f} frames/s; overlay in {self.overlay}"


def analyse_video(
    source: VideoFile,
    cascade: Cascade,
    folder: ResultFolder,
    *,
    max_frames: int | None = None,
    journal: "Journal | None" = None,
    on_finding: Callable[[Frame, Finding], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> VideoReport:
    """Analyse the frames of a file in order.

    Writes ``<stem>_overlay.mp4``, with class maps also ``<stem>_explanation.mp4``, and a row of
    ``predictions.csv`` for every frame. Videos of the same names are replaced. When interrupted or
    failing, it leaves each video as ``<stem>_<kind>.part.mp4`` with the frames up to there.

    Args:
        source: the file, from its start.
        cascade: analyses the frames; on a GPU frames overlap.
        folder: where the results go.
        max_frames: number of frames after which to stop.
        journal: gets every analysed frame, also one without a finding.
        on_finding: called with every frame and its finding, in order.
        say: told where the part of an unfinished video is.

    Raises:
        SourceUnavailable: the file is cut off; the frames before that are analysed and written.
        EngineError: an engine failed; `NotFinite` names the frame.
        EnvironmentUnusable: the videos cannot be written.
    """
    stem, started_s, num_frames = source.path.stem, time.monotonic(), 0
    paths = {kind: folder.folder / f"{stem}_{kind}.mp4" for kind in ("explanation", "overlay")}
    drawings: dict[str, Draw] = {"overlay": draw_overlay}
    if cascade.spec.outputs.class_map is not None:
        drawings = {"explanation": draw_explanation, **drawings}
    for path in paths.values():
        path.unlink(missing_ok=True)
    with ExitStack() as stack:
        recorders = [
            (draw, stack.enter_context(_recording(kind, paths[kind], source.fps, say)))
            for kind, draw in drawings.items()
        ]
        for frame, finding in _findings(cascade, islice(source, max_frames), journal):
            num_frames += 1
            folder.add_row(f"{stem}_{frame.index:06d}", finding, frame.position_s)
            for draw, recorder in recorders:
                recorder.write(draw(frame.image_HWC, finding), frame.captured_s)
            if on_finding is not None:
                on_finding(frame, finding)
    return VideoReport(num_frames, time.monotonic() - started_s, paths["overlay"])


def _findings(
    cascade: Cascade, frames: Iterator[Frame], journal: "Journal | None"
) -> Iterator[tuple[Frame, Finding]]:
    """Each frame with its finding; a GPU takes the next frame before it gives a finding."""
    under_way: deque[Frame] = deque()
    record = (lambda frame, finding: None) if journal is None else journal.add

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            under_way.append(frame)
            yield frame.image_HWC

    findings = cascade.stream(images())
    while True:
        try:
            finding = next(findings)
        except StopIteration:
            return
        except NotFinite as error:
            record(under_way[0], None)
            raise NotFinite(f"frame {under_way[0].index}: {error}") from error.__cause__
        record(under_way[0], finding)
        yield under_way.popleft(), finding


@contextmanager
def _recording(
    kind: str, path: Path, fps: float | None, say: Callable[[str], None]
) -> Iterator[Recorder]:
    """A recorder that gives its file the final name only if the ``with`` block ends normally."""
    recorder = Recorder(path, fps=fps)
    try:
        yield recorder
    except BaseException:
        if part := recorder.abandon():
            say(f"not finished: the {kind} up to here is in {part}")
        raise
    recorder.close()
