"""Journals of the tiny bundle, made in no time, and ways to change what is in them."""

import contextlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.runtime.photographs import photo

from ckd.contract.errors import InputError
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.runtime import Cascade
from ckd.runtime.journal import Journal, Outcome, open_run, replay_run
from ckd.runtime.journal.layout import LINES
from ckd.runtime.journal.reading import Segment
from ckd.runtime.journal.replay import Missing, Replayed
from ckd.runtime.sources import Frame, FrameSource, SourceState

#: The files of a segment by name.
Files = dict[str, bytes]


class Still(FrameSource):
    """A source of which a journal asks name and counts only."""

    name = "still"
    state: SourceState = "live"
    detail = ""
    fps = None
    dropped = 7

    def get(self, timeout_s: float | None = None) -> Frame | None:
        return None

    def close(self) -> None:
        pass


def recorded(
    folder: Path,
    cascade: Cascade,
    images: Iterable[NDArray[np.uint8]] | None = None,
    **options: Any,
) -> Journal:
    """A closed journal of some photographs, all of them in one segment."""
    options = {"limit": 10**9, **options}
    with Journal(folder, cascade, Still(), **options) as journal:
        for index, image_HWC in enumerate(map(photo, range(3)) if images is None else images):
            add(journal, cascade, image_HWC, index)
    return journal


def add(journal: Journal, cascade: Cascade, image_HWC: NDArray[np.uint8], index: int) -> None:
    finding: Finding | None = None
    with contextlib.suppress(NotFinite):
        finding = cascade.predict(image_HWC)
    journal.add(Frame(image_HWC, index, time.monotonic()), finding)


def replayed(path: Path, cascade: Cascade) -> tuple[list[Replayed], Outcome, Missing]:
    outcome, missing = Outcome(), Missing()
    frames = [*replay_run(open_run(path), cascade, missing)]
    for one in frames:
        outcome.add(one)
    return frames, outcome, missing


def segments(path: Path) -> Iterator[Segment]:
    for segment in open_run(path).segments():
        assert not isinstance(segment, InputError), segment
        yield segment


def rewrite(path: Path, change: Callable[[Files], object]) -> None:
    """Change the files of a segment, as somebody could who made it."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    path.write_bytes(zipped(files))


def zipped(files: Files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def edit_line(files: Files, number: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the line of a frame."""
    lines = [json.loads(line) for line in files[LINES].splitlines()]
    (line,) = (line for line in lines if line.get("number") == number)
    change(line)
    files[LINES] = "".join(json.dumps(line) + "\n" for line in lines).encode()


def npy(values: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()
