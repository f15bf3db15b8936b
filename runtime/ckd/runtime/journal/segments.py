"""A segment: what was recorded in less than a second, as one zip file that is whole or absent.

Its members are standard files (PNG, JPEG, NPY), and `lines.jsonl`, whose first line is the state of
everything that runs over frames. Members are stored; only the lines are compressed.
"""

import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from ckd.contract.whole_file import replacing
from ckd.runtime.journal.layout import FULL_BYTES, LINES, SCHEMA, segment_name
from ckd.runtime.journal.record import FrameRecord
from ckd.runtime.journal.ring import Ring


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key that somebody pressed, or a button.

    Attributes:
        key: what it does: "freeze", "unfreeze", "save", "quit", or the key itself.
        view: "web" or "window".
        pressed_s: by the monotonic clock.
        next_frame: number of the frame that is analysed next.
        counters: as of a `FrameRecord`.
        over_frames: likewise.
    """

    key: str
    view: str
    pressed_s: float
    next_frame: int
    counters: Mapping[str, Any]
    over_frames: Mapping[str, Any]

    @property
    def line(self) -> dict[str, Any]:
        """As it stands in the journal."""
        pressed = {"key": self.key, "view": self.view, "pressed_s": self.pressed_s}
        return {"kind": "key", **pressed}


Record: TypeAlias = FrameRecord | KeyRecord


class SegmentWriter:
    """Adds records to a segment that is being written; made by `written`."""

    def __init__(self, archive: zipfile.ZipFile, number: int) -> None:
        self._archive, self._number = archive, number
        self._lines: list[dict[str, Any]] = []
        self._num_bytes = 0
        self.num_frames = 0

    @property
    def is_full(self) -> bool:
        """True if it must end before its time, so that a reader can hold it in memory."""
        return self._num_bytes >= FULL_BYTES

    def add(self, record: Record) -> None:
        """Encode a record, and write its files.

        Raises:
            OSError: they cannot be written.
        """
        if not self._lines:
            self._lines.append(self._state(record))
        if isinstance(record, KeyRecord):
            self._lines.append(record.line)
            return
        self.num_frames += 1
        line, files = record.encoded()
        for name, content in files.items():
            self._archive.writestr(zipfile.ZipInfo(name), content)
            self._num_bytes += len(content)
        self._lines.append(line)

    def finish(self) -> None:
        """Write the lines; nothing can be added afterwards."""
        lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self._lines)
        self._archive.writestr(zipfile.ZipInfo(LINES), lines, zipfile.ZIP_DEFLATED, compresslevel=1)

    def _state(self, first: Record) -> dict[str, Any]:
        """The first line: everything that runs over frames, as it was before the first record."""
        return {
            "kind": "state",
            "schema": SCHEMA,
            "segment": self._number,
            "next_frame": first.next_frame if isinstance(first, KeyRecord) else first.number,
            "utc": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "monotonic_s": time.monotonic(),
            "counters": dict(first.counters),
            "over_frames": dict(first.over_frames),
        }


@contextmanager
def written(run: Path, number: int, ring: Ring) -> Iterator[SegmentWriter]:
    """A segment to add to, which is in its place, synced, at the end of the ``with`` block.

    If anything is raised there is no such segment.

    Args:
        run: folder of the run.
        number: of the segment.
        ring: makes room for it.

    Raises:
        OSError: it cannot be written.
    """
    path = run / segment_name(number)
    with replacing(path) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            segment = SegmentWriter(archive, number)
            yield segment
            segment.finish()
        ring.make_room(path, file.tell())
