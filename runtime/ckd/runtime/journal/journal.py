"""The black box: everything that answers are made of, on disk within a second of the answer.

The thread that analyses hands over what it has, and a second one encodes and writes. A journal that
cannot keep up, or whose disk is full, leaves frames out, counts them and says so.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.finding.finding import Finding
from ckd.runtime.cascade import Cascade
from ckd.runtime.closing import Closing
from ckd.runtime.inputs import Analysed, Listener
from ckd.runtime.journal.backlog import Backlog
from ckd.runtime.journal.header import header_of
from ckd.runtime.journal.layout import HEADER, SEGMENT_S, new_run, remove_run, segments_in
from ckd.runtime.journal.record import FrameRecord, Heard
from ckd.runtime.journal.ring import Ring
from ckd.runtime.journal.segments import KeyRecord, Record, written
from ckd.runtime.sources.frames import Frame, FrameSource

#: What may wait to be written: ten photographs of 1080p.
BACKLOG_BYTES: Final = 64 << 20
#: After a failure nothing is written for this long, so that a full disk is not hammered.
RETRY_S: Final = 5.0
#: A journal that is now and then too slow says so once in this time.
SAID_EVERY_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 30.0


class Journal(Closing):
    """Records a run of a cascade, from construction until `close`.

    `add` and `key` may be called from different threads.

    Args:
        folder: of the journal; each run gets a folder of its own below it.
        cascade: that analyses; the journal listens to it.
        source: of the frames.
        limit: bytes that all runs below ``folder`` may take; the oldest segments make room.
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
        UsageError: the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        cascade: Cascade,
        source: FrameSource,
        *,
        limit: int,
        bundle_path: Path | None = None,
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
        every_tensor: bool = False,
        waits: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._cascade, self._source, self._waits, self._say = cascade, source, waits, say
        self._header = header_of(
            cascade,
            bundle_path=None if bundle_path is None else str(bundle_path.absolute()),
            source=source.name,
            operating_point=operating_point,
            prevalence=prevalence or {},
            every_tensor=every_tensor,
        )
        self.run = new_run(folder)
        try:
            replace_file(self.run / HEADER, self._header)
        except OSError as error:
            raise UsageError(f"{folder}: cannot keep a journal there ({error.strerror})") from error
        self._ring = Ring(folder, self.run, limit)
        self._backlog: Backlog[Record] = Backlog(BACKLOG_BYTES)
        self._heard: Heard | None = None
        self._num_analysed = self._num_unusable = 0
        self._over_frames: Mapping[str, Any] = {}
        self._changed = threading.Lock()  # guards the next block, which both threads write
        self._num_recorded = self._num_left_out = self._num_segments = 0
        self._problem = ""
        self._under_way = 0  # frames of the segment that is being written
        self._said_s = -SAID_EVERY_S
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()
        cascade.listener = Listener(self._hear, every_tensor=every_tensor)

    @property
    def problem(self) -> str:
        """Why frames are being left out now, for people; empty while all is well."""
        with self._changed:
            return self._problem

    @property
    def summary(self) -> str:
        """One line for the person who recorded it."""
        with self._changed:
            left_out = f", {self._num_left_out} not recorded" * bool(self._num_left_out)
            why = f" ({self._problem})" * bool(self._problem)
            return (
                f"journal: {self._num_recorded} frames in {self._num_segments} segments{left_out}"
                f"{why}; {self.run}"
            )

    def add(
        self, frame: Frame, finding: Finding | None, over_frames: Mapping[str, Any] | None = None
    ) -> None:
        """Record the frame that the cascade analysed last, in the thread that analyses.

        Args:
            frame: as it came from the source.
            finding: None if a network gave no finite numbers.
            over_frames: state that runs over frames, as it is after this one, ready for JSON.
        """
        heard, self._heard = self._heard, None
        counters, before = self._counters(), self._over_frames
        number = self._num_analysed
        self._num_analysed += 1
        self._num_unusable += finding is None
        self._over_frames = over_frames or {}
        if heard is None:  # the frame was not analysed by this cascade
            return
        record = FrameRecord(
            number=number,
            source_index=frame.index,
            captured_s=frame.captured_s,
            photograph=getattr(frame, "jpeg", None) or frame.image_HWC,
            heard=heard,
            finding=finding,
            analysed_s=time.monotonic(),
            counters=counters,
            over_frames=before,
        )
        if not self._backlog.put(record, record.num_bytes, waits=self._waits):
            self._leave_out(1, "the disk or the processor is too slow for it")

    def key(self, view: str, key: str) -> None:
        """Record that somebody pressed a key or a button, from any thread."""
        record = KeyRecord(
            key, view, time.monotonic(), self._num_analysed, self._counters(), self._over_frames
        )
        self._backlog.put(record, 100)

    def close(self) -> None:
        """Write what waits, and end. May be called twice."""
        if self._cascade.listener is not None:
            self._cascade.listener = None
        self._backlog.close()
        self._writer.join(_CLOSE_TIMEOUT_S)
        if not self._writer.is_alive() and not segments_in(self.run):
            remove_run(self.run)

    def _hear(self, analysed: Analysed) -> None:
        self._heard = Heard.of(analysed)

    def _counters(self) -> dict[str, Any]:
        with self._changed:
            not_recorded = self._num_left_out
        return {
            "analysed": self._num_analysed,
            "unusable": self._num_unusable,
            "dropped_by_source": self._source.dropped,
            "faults_of_source": dict(getattr(self._source, "faults", {})),
            "not_recorded": not_recorded,
        }

    # The thread that writes.

    def _write(self) -> None:
        number, silent_until_s = 0, 0.0
        while (first := self._backlog.get()) is not None:
            if time.monotonic() < silent_until_s:
                self._leave_out(isinstance(first, FrameRecord), self.problem)
                continue
            try:
                self._write_segment(number, first)
            except Exception as error:  # whatever it is, viewing goes on
                silent_until_s = time.monotonic() + RETRY_S
                reason = error.strerror if isinstance(error, OSError) else None
                self._leave_out(self._under_way, reason or f"{type(error).__name__}: {error}")
                continue
            number += 1

    def _write_segment(self, number: int, first: Record) -> None:
        self._under_way = int(isinstance(first, FrameRecord))
        until_s = time.monotonic() + SEGMENT_S
        left_out_before = self._num_left_out
        if not (self.run / HEADER).exists():  # another run's ring took the folder for an old one
            self.run.mkdir(exist_ok=True)
            replace_file(self.run / HEADER, self._header)
        with written(self.run, number, self._ring) as segment:
            record: Record | None = first
            while record is not None:
                segment.add(record)
                is_over = segment.is_full or time.monotonic() >= until_s
                record = None if is_over else self._backlog.get(until_s)
                self._under_way += isinstance(record, FrameRecord)
        with self._changed:
            self._num_recorded += segment.num_frames
            self._num_segments += 1
            if self._num_left_out == left_out_before:
                self._problem = ""

    def _leave_out(self, count: int, reason: str) -> None:
        now_s = time.monotonic()
        with self._changed:
            self._num_left_out += count
            is_new, self._problem = self._problem == "", reason
            is_new = is_new and now_s - self._said_s >= SAID_EVERY_S
            if is_new:
                self._said_s = now_s
        if is_new:
            with suppress(Exception):  # a terminal that has gone must not end the thread
                self._say(f"journal: frames are not recorded: {reason}; the analysis goes on")
