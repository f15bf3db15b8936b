"""A whole video file: every frame analysed, its row in the CSV, and drawings as videos."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ckd.finding.explanation import draw_explanation
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.finding.overlay import draw_overlay
from ckd.runtime.cascade import Cascade
from ckd.runtime.sinks import (
    MIN_FREE_BYTES,
    Drawn,
    Recorder,
    RecordingState,
    ResultFolder,
    check_recordable,
)
from ckd.runtime.sources import Frame, VideoFile

if TYPE_CHECKING:
    from ckd.runtime.journal import Journal

#: Gives a picture of an image and its finding, uint8 RGB HWC.
Draw = Callable[[NDArray[np.uint8], Finding], NDArray[np.uint8]]

#: Motion JPEG in Matroska, or by ffmpeg the smaller H.264 in MP4.
VideoFormat = Literal["mkv", "mp4"]


@dataclass(frozen=True, slots=True)
class VideoReport:
    """How much of a video file was analysed, how long it took, and what was recorded."""

    num_frames: int
    elapsed_s: float
    overlay: Path
    recordings: tuple[RecordingState, ...]

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
    stem: str | None = None,
    max_frames: int | None = None,
    journal: "Journal | None" = None,
    on_finding: Callable[[Frame, Finding], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
    video_format: VideoFormat = "mkv",
    min_free_bytes: int = MIN_FREE_BYTES,
) -> VideoReport:
    """Analyse the frames of a file in order.

    Writes ``<stem>_overlay.<format>``, with class maps also ``<stem>_explanation.<format>``, and a
    row of ``predictions.csv`` for every frame. Until all frames are analysed a video is called
    ``<stem>_<kind>.part.<format>``; it plays at every moment, and is left under that name by an
    interruption or failure. Videos of the same names, of either format, go when the first frame is
    analysed, as their rows have gone. A disk that is full ends the videos, not the analysis: the
    report tells.

    Args:
        source: the file, from its start.
        cascade: analyses the frames; on a GPU frames overlap.
        folder: where the results go.
        stem: what videos and rows are called after; None for that of the file.
        max_frames: number of frames after which to stop.
        journal: gets every analysed frame, also one without a finding.
        on_finding: called with every frame and its finding, in order.
        say: told where the part of an unfinished video is, and what `Recorder` tells.
        video_format: of the videos.
        min_free_bytes: that the videos leave free on the disk.

    Raises:
        SourceUnavailable: the file is cut off; the frames before that are analysed and written.
        EngineError: an engine failed; `NotFinite` names the frame.
        EnvironmentUnusable: videos cannot be written here, which is found before any analysis.
    """
    stem, started_s, num_frames = stem or source.path.stem, time.monotonic(), 0
    drawings: dict[str, Draw] = {"overlay": draw_overlay}
    if cascade.spec.outputs.class_map is not None:
        drawings = {"explanation": draw_explanation, **drawings}
    with ExitStack() as stack:
        videos: dict[str, _Video] = {}
        for kind in drawings:
            path = folder.folder / f"{stem}_{kind}.{video_format}"
            check_recordable(path, min_free_bytes)
            videos[kind] = stack.enter_context(
                _whole_or_part(_Video(path, kind, min_free_bytes, say))
            )
        for frame, finding in _findings(cascade, islice(source, max_frames), journal):
            num_frames += 1
            folder.add_row(f"{stem}_{frame.index:06d}", finding, frame.position_s)
            time_s = frame.captured_s if frame.position_s is None else frame.position_s
            for kind, draw in drawings.items():
                videos[kind].write(Drawn(partial(draw, frame.image_HWC, finding)), time_s)
            if on_finding is not None:
                on_finding(frame, finding)
    elapsed_s = time.monotonic() - started_s
    states = tuple(video.recorder.state for video in videos.values() if video.recorder)
    return VideoReport(num_frames, elapsed_s, videos["overlay"].path, states)


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


class _Video:
    """A video that is begun with its first picture, and has its final name once it is whole."""

    def __init__(
        self, path: Path, kind: str, min_free_bytes: int, say: Callable[[str], None]
    ) -> None:
        self._path, self._kind = path, kind
        self._part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._min_free_bytes, self._say = min_free_bytes, say
        self.recorder: Recorder | None = None

    def write(self, picture: Drawn, time_s: float) -> None:
        if self.recorder is None:
            for ending in get_args(VideoFormat):  # the rows that an earlier one showed have gone
                for earlier in (self._path, self._part):
                    earlier.with_suffix(f".{ending}").unlink(missing_ok=True)
            self.recorder = Recorder(
                self._part, min_free_bytes=self._min_free_bytes, leaves_out=False, say=self._say
            )
        self.recorder.write(picture, time_s)

    def close(self) -> None:
        """All frames are analysed: a video that holds them all gets its name."""
        if self.recorder is None:
            return
        self.recorder.close()
        if self.is_whole:
            self._part.replace(self._path)

    @property
    def is_whole(self) -> bool:
        return self.recorder is not None and not self.recorder.state.ended_by

    @property
    def path(self) -> Path:
        """Where it is, once it is closed."""
        return self._path if self.is_whole else self._part

    def abandon(self) -> None:
        if self.recorder is None:
            return
        self.recorder.close()
        if self.recorder.state.num_pictures:
            self._say(f"not finished: the {self._kind} up to here is in {self._part}")


@contextmanager
def _whole_or_part(video: _Video) -> Iterator[_Video]:
    """Closes the video if the ``with`` block ends normally, and else abandons it."""
    try:
        yield video
    except BaseException:
        video.abandon()
        raise
    video.close()
