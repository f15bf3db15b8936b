"""From records to segments on disk, in two threads beside the one that analyses.

One encodes, and never waits for the disk; the other brings finished segments to the disk, which may
stall for seconds. What waits for either is limited: encoded frames are thirty times smaller than
photographs, so a stall is better waited for behind the first thread than before it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ckd.contract.whole_file import replace_file
from ckd.runtime.closing import Closing
from ckd.runtime.journal.backlog import Backlog
from ckd.runtime.journal.layout import HEADER, SEGMENT_S, segment_name
from ckd.runtime.journal.ring import Ring
from ckd.runtime.journal.segments import KeyRecord, Record, SegmentWriter

#: Records that may wait to be encoded: six photographs of 1080p, with the masks of their findings.
RECORDS_BYTES: Final = 96 << 20
#: Segments that may wait for the disk: five seconds of 1080p at 30 frames a second.
SEGMENTS_BYTES: Final = 64 << 20
#: After a failure nothing is written for this long, so that a full disk is not hammered.
RETRY_S: Final = 5.0
#: A journal that is now and then too slow says so once in this time.
SAID_EVERY_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class _Finished:
    number: int
    content: memoryview
    num_frames: int


class Writer(Closing):
    """Writes what it is given, from construction until `close`; counts what it leaves out.

    Args:
        run: folder of the run.
        header: content of its header, for a folder that somebody removes.
        ring: makes room for segments.
        waits: `put` waits where it would leave a record out.
        say: told when frames begin to be left out.
    """

    def __init__(
        self, run: Path, header: bytes, ring: Ring, *, waits: bool, say: Callable[[str], None]
    ) -> None:
        self._run, self._header, self._ring = run, header, ring
        self._waits, self._say = waits, say
        self._records: Backlog[Record] = Backlog(RECORDS_BYTES)
        self._segments: Backlog[_Finished] = Backlog(SEGMENTS_BYTES)
        self._changed = threading.Lock()  # guards the next block
        self._num_given = self._num_recorded = self._num_left_out = self._num_segments = 0
        self._problem = self._reason = ""  # of now, and the last one
        self._said_s = -SAID_EVERY_S
        self._threads = [
            threading.Thread(target=work, name=f"journal {what}", daemon=True)
            for work, what in ((self._encode, "encoding"), (self._save, "saving"))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def problem(self) -> str:
        """Why frames are being left out now, for people; empty while all is well."""
        with self._changed:
            return self._problem

    @property
    def num_left_out(self) -> int:
        """Frames that were not recorded so far."""
        with self._changed:
            return self._num_left_out

    @property
    def summary(self) -> str:
        """How many frames were recorded and how many not, and why."""
        with self._changed:
            left_out = f", {self._num_left_out} not recorded" * bool(self._num_left_out)
            why = f" ({self._reason})" * bool(self._reason)
            return f"{self._num_recorded} frames in {self._num_segments} segments{left_out}{why}"

    def put(self, record: Record) -> None:
        """Have a record written, from any thread."""
        if isinstance(record, KeyRecord):
            self._records.put(record, 0)  # small and few: there is always room
            return
        with self._changed:
            self._num_given += 1
        if not self._records.put(record, record.num_bytes, waits=self._waits):
            self._leave_out(1, "the processor is too slow for it")

    def close(self) -> bool:
        """Write what waits, and end; False if the disk hangs. May be called twice."""
        self._records.close()
        for thread in self._threads:
            thread.join(_CLOSE_TIMEOUT_S)
        if not any(thread.is_alive() for thread in self._threads):
            return True
        with self._changed:
            num_lost = self._num_given - self._num_recorded - self._num_left_out
        self._leave_out(max(0, num_lost), "the disk does not answer")
        return False

    def _encode(self) -> None:
        number = 0
        while (first := self._records.get()) is not None:
            segment = SegmentWriter(number)
            try:
                finished = self._finished(segment, number, first)
            except Exception as error:  # whatever it is, the analysis goes on
                self._leave_out(segment.num_frames, f"{type(error).__name__}: {error}")
                continue
            number += 1
            if not self._segments.put(finished, len(finished.content), waits=self._waits):
                self._leave_out(finished.num_frames, "the disk is too slow for it")
        self._segments.close()

    def _finished(self, segment: SegmentWriter, number: int, first: Record) -> _Finished:
        until_s = time.monotonic() + SEGMENT_S
        record: Record | None = first
        while record is not None:
            segment.add(record)
            is_over = segment.is_full or time.monotonic() >= until_s
            record = None if is_over else self._records.get(until_s)
        return _Finished(number, segment.finish(), segment.num_frames)

    def _save(self) -> None:
        silent_until_s = 0.0
        while (finished := self._segments.get()) is not None:
            left_out_before = self.num_left_out
            if time.monotonic() < silent_until_s:
                self._leave_out(finished.num_frames, self.problem)
                continue
            try:
                self._save_one(finished)
            except Exception as error:  # whatever it is, the analysis goes on
                silent_until_s = time.monotonic() + RETRY_S
                reason = error.strerror if isinstance(error, OSError) else None
                reason = reason or f"{type(error).__name__}: {error}"
                self._leave_out(finished.num_frames, reason)
                continue
            with self._changed:
                self._num_recorded += finished.num_frames
                self._num_segments += 1
                if self._num_left_out == left_out_before:
                    self._problem = ""

    def _save_one(self, finished: _Finished) -> None:
        if not (self._run / HEADER).exists():  # somebody removed the folder
            self._run.mkdir(exist_ok=True)
            replace_file(self._run / HEADER, self._header)
        path, num_bytes = self._run / segment_name(finished.number), len(finished.content)
        self._ring.make_room(num_bytes)
        replace_file(path, finished.content)
        self._ring.count(path, num_bytes)

    def _leave_out(self, count: int, reason: str) -> None:
        now_s = time.monotonic()
        with self._changed:
            self._num_left_out += count
            is_new = not self._problem and now_s - self._said_s >= SAID_EVERY_S
            self._problem = self._reason = reason
            if is_new:
                self._said_s = now_s
        if is_new:
            with suppress(Exception):  # a terminal that has gone must not end the thread
                self._say(f"journal: frames are not recorded: {reason}; the analysis goes on")
