"""A segment: what was recorded in less than a second, as one zip file that is whole or absent.

Its members are standard files (PNG, JPEG, NPY), and `lines.jsonl`, whose first line is the state of
everything that runs over frames. Members are stored; only the lines are compressed.
"""

import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from io import BytesIO
from typing import Any, TypeAlias

from ckd.runtime.journal.layout import FULL_BYTES, LINES, SCHEMA
from ckd.runtime.journal.record import FrameRecord


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
    """Encodes records as a segment, in memory: a disk that stalls holds up no encoding.

    Args:
        number: of the segment.

    Attributes:
        num_frames: that it holds.
    """

    def __init__(self, number: int) -> None:
        self._content = BytesIO()
        self._archive = zipfile.ZipFile(self._content, "w", zipfile.ZIP_STORED)
        self._number, self.num_frames = number, 0
        self._lines: list[dict[str, Any]] = []

    @property
    def is_full(self) -> bool:
        """True if it must end before its time, so that a reader can hold it in memory."""
        return self._content.tell() >= FULL_BYTES

    def add(self, record: Record) -> None:
        """Encode a record."""
        if not self._lines:
            self._lines.append(self._state(record))
        if isinstance(record, KeyRecord):
            self._lines.append(record.line)
            return
        self.num_frames += 1
        line, files = record.encoded()
        for name, content in files.items():
            self._archive.writestr(zipfile.ZipInfo(name), content)
        self._lines.append(line)

    def finish(self) -> memoryview:
        """The content of the segment's file; nothing can be added afterwards."""
        lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self._lines)
        self._archive.writestr(zipfile.ZipInfo(LINES), lines, zipfile.ZIP_DEFLATED, compresslevel=1)
        self._archive.close()
        return self._content.getbuffer()

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
