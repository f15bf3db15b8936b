"""The black box: everything that answers are made of, on disk within a second of the answer.

The thread that analyses hands over what it has, and others encode and write it. A journal that
cannot keep up, or whose disk is full, leaves frames out, counts them and says so.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.contract.writer_lock import one_writer
from ckd.finding.finding import Finding
from ckd.runtime.cascade import Cascade
from ckd.runtime.closing import Closing
from ckd.runtime.inputs import Analysed, Listener
from ckd.runtime.journal.header import header_of
from ckd.runtime.journal.layout import HEADER, check_folder, new_run, remove_run, segments_in
from ckd.runtime.journal.record import FrameRecord
from ckd.runtime.journal.ring import Ring
from ckd.runtime.journal.segments import KeyRecord
from ckd.runtime.journal.writing import Writer
from ckd.runtime.sources.frames import Frame, FrameSource


class Journal(Closing):
    """Records a run of a cascade, from construction until `close`.

    `add` and `key` may be called from different threads.

    Args:
        folder: of the journal; each run gets a folder of its own below it.
        cascade: that analyses; the journal listens to it.
        source: of the frames.
        limit: bytes that all runs below ``folder`` may take; the oldest segments make room.
        min_free_bytes: that stay free on the disk; for them, too, the oldest segments make room.
        bundle_path: where the bundle lies; None for the one that comes with `ckd`.
        operating_point: as the cascade was loaded with.
        prevalence: likewise.
        every_tensor: also record the SHA-256 of every tensor of the graph. On a GPU each is copied
            to the host for it.
        waits: `add` waits for a slow disk, in place of leaving frames out: for files.
        say: told when frames begin to be left out.

    Attributes:
        run: folder of this run.

    Raises:
        UsageError: the folder cannot be written to, or another process keeps a journal there.
    """

    def __init__(
        self,
        folder: Path,
        cascade: Cascade,
        source: FrameSource,
        *,
        limit: int,
        min_free_bytes: int = 0,
        bundle_path: Path | None = None,
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
        every_tensor: bool = False,
        waits: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._cascade, self._source = cascade, source
        header = header_of(
            cascade,
            bundle_path=None if bundle_path is None else str(bundle_path.absolute()),
            source=source.label,
            operating_point=operating_point,
            prevalence=prevalence or {},
            every_tensor=every_tensor,
        )
        with ExitStack() as stack:
            try:
                check_folder(folder)
                stack.enter_context(one_writer(folder, "give each camera a journal of its own"))
                self.run = _begun(folder, header)
            except OSError as error:
                raise UsageError(
                    f"{folder}: cannot keep a journal there ({error.strerror})"
                ) from error
            self._lock = stack.pop_all()
        ring = Ring(folder, self.run, limit, min_free_bytes)
        self._writer = Writer(self.run, header, ring, waits=waits, say=say)
        self._heard: Analysed | None = None
        self._in_turn = threading.Lock()  # records stand as they count; guards all below
        self._num_analysed = self._num_unusable = 0
        self._over_frames: Mapping[str, Any] = {}
        self._listener = cascade.listener = Listener(self._hear, every_tensor=every_tensor)

    @property
    def problem(self) -> str:
        """Why frames are being left out now, for people; empty while all is well."""
        return self._writer.problem

    @property
    def summary(self) -> str:
        """One line for the person who recorded it."""
        where = f"; {self.run}" * self.run.exists()  # a run that recorded nothing is removed
        return f"journal: {self._writer.summary}{where}"

    def add(
        self, frame: Frame, finding: Finding | None, over_frames: Mapping[str, Any] | None = None
    ) -> None:
        """Record the frame whose finding was made last, in the thread that makes findings.

        Args:
            frame: as it came from the source.
            finding: None if a network gave no finite numbers.
            over_frames: state that runs over frames, as it is after this one, ready for JSON.
        """
        with self._in_turn:
            if (record := self._record(frame, finding, over_frames or {})) is not None:
                self._writer.put(record)

    def key(self, view: str, key: str) -> None:
        """Record that somebody pressed a key or a button, from any thread."""
        with self._in_turn:
            number, counters = self._num_analysed, self._counters()
            pressed = KeyRecord(key, view, time.monotonic(), number, counters, self._over_frames)
            self._writer.put(pressed)

    def close(self) -> None:
        """Write what waits, and end. May be called twice."""
        if self._cascade.listener is self._listener:
            self._cascade.listener = None
        if self._writer.close() and not segments_in(self.run):
            remove_run(self.run)
        self._lock.close()

    def _hear(self, analysed: Analysed) -> None:
        self._heard = analysed

    def _record(
        self, frame: Frame, finding: Finding | None, over_frames: Mapping[str, Any]
    ) -> FrameRecord | None:
        """Count a frame; None if it was not analysed by this cascade."""
        heard, self._heard = self._heard, None
        counters, before = self._counters(), self._over_frames
        number = self._num_analysed
        self._num_analysed += 1
        self._num_unusable += finding is None
        self._over_frames = over_frames
        if heard is None:
            return None
        return FrameRecord(
            number=number,
            source_index=frame.index,
            captured_s=frame.captured_s,
            photograph=frame.jpeg or frame.image_HWC,
            heard=heard,
            finding=finding,
            analysed_s=time.monotonic(),
            counters=counters,
            over_frames=before,
        )

    def _counters(self) -> dict[str, Any]:
        return {
            "analysed": self._num_analysed,
            "unusable": self._num_unusable,
            "dropped_by_source": self._source.dropped,
            "faults_of_source": dict(self._source.faults),
            "not_recorded": self._writer.num_left_out,
        }


def _begun(folder: Path, header: bytes) -> Path:
    """The folder of a new run, with its header; `OSError` if there can be none."""
    run = new_run(folder)
    try:
        replace_file(run / HEADER, header)
    except OSError:
        remove_run(run)
        raise
    return run
