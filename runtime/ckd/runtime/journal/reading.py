"""Runs of a journal, opened for reading: a folder, or an archive that `ckd-run replay` packed.

A journal may have been sent by anybody. Nothing is unpacked to disk, no name in it is used as a
path, and sizes are limited before anything is read or decompressed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.runtime.journal import foreign
from ckd.runtime.journal.archive import opened_zip, read_limited, read_member
from ckd.runtime.journal.header import Header, read_header
from ckd.runtime.journal.layout import (
    HEADER,
    LINES,
    MAX_HEADER_BYTES,
    MAX_SEGMENT_BYTES,
    runs_in,
    segment_number,
    segments_in,
)
from ckd.runtime.journal.stored import StoredFrame

#: A second holds some hundred files.
_MAX_MEMBERS: Final = 20_000
_MAX_LINES: Final = 10_000
#: Of the lines of a segment. As JSON they take thirty times as much memory.
_MAX_LINES_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment in memory.

    Attributes:
        name: of its file.
        content: of its file.
        lines: all of them, those of unknown kinds included.
        frames: those among them that are frames.
        read: gives the content of a file by name; `ValueError` if there is none, or it is damaged.
    """

    name: str
    content: bytes = field(repr=False)
    lines: Sequence[Mapping[str, Any]]
    frames: Sequence[StoredFrame]
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, name: str, content: bytes) -> "Segment":
        """The segment in the bytes of a file.

        Raises:
            ValueError: it is damaged, or too large.
        """
        read = _opened(content)
        texts = read(LINES).splitlines()
        if len(texts) > _MAX_LINES:
            raise ValueError(f"{LINES}: over {_MAX_LINES} lines")
        lines = [foreign.object_of(text) for text in texts]
        frames = [StoredFrame.of(line, read) for line in lines if line.get("kind") == "frame"]
        return cls(name, content, lines, frames, read)


@dataclass(frozen=True, slots=True, eq=False)
class StoredRun:
    """One run of a journal.

    Attributes:
        name: of its folder or archive.
        header: with what it was recorded.
        names: of the segments, the oldest first.
        note: what had to be decided to find it; mostly empty.
    """

    name: str
    header: Header
    names: Sequence[str]
    note: str = ""
    _read: Callable[[str, int], bytes] = field(repr=False, kw_only=True)

    def segments(self) -> Iterator[Segment | InputError]:
        """Each segment that is there, or the error of a damaged one; the oldest first."""
        for name in self.names:
            try:
                yield Segment.of(name, self._read(name, MAX_SEGMENT_BYTES))
            except FileNotFoundError:  # the ring took it, as the run is still being recorded
                continue
            except (ValueError, InputError) as error:
                yield InputError(f"{self.name}: {name} is damaged ({foreign.said(error)})")


def open_run(path: Path) -> StoredRun:
    """Open a run: its folder, the latest below a journal's folder, or an archive.

    Raises:
        InputError: there is none, or its header is damaged.
    """
    if path.is_file():
        return _archive(path)
    note, run = "", path
    if not (path / HEADER).is_file():
        runs = [run for run in runs_in(path) if (run / HEADER).is_file() and segments_in(run)]
        if not runs:
            raise InputError(
                f"{path}: no journal there; expected a folder of `ckd-run camera --journal`, one "
                "run below it, or an archive of `ckd-run replay --pack`"
            )
        run = runs[-1]
        if len(runs) > 1:
            note = f"{path} holds {len(runs)} runs; this is the latest, {run.name}"

    def read(name: str, most: int) -> bytes:
        path = run / name
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ValueError("no file")
        try:
            with path.open("rb") as file:
                return read_limited(name, file, most)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ValueError(f"{error.strerror}") from None

    header = _header(run / HEADER, read)
    return StoredRun(run.name, header, [p.name for p in segments_in(run)], note, _read=read)


def _archive(path: Path) -> StoredRun:
    try:
        archive = opened_zip(path)
    except ValueError as error:
        raise InputError(
            f"{path}: neither a journal's folder nor an archive of one ({error})"
        ) from error

    def read(name: str, most: int) -> bytes:
        return read_member(archive, name, most)

    names = sorted({name for name in archive.namelist() if segment_number(name) is not None})
    return StoredRun(path.stem, _header(path / HEADER, read), names, _read=read)


def _header(where: Path, read: Callable[[str, int], bytes]) -> Header:
    try:
        content = read(HEADER, MAX_HEADER_BYTES)
    except ValueError as error:
        raise InputError(f"{where}: the header of a journal is damaged ({error})") from None
    return read_header(str(where), content)


def _opened(content: bytes) -> Callable[[str], bytes]:
    """Gives the files of a zip in memory; all together are not larger than a segment may be."""
    archive = opened_zip(BytesIO(content))
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise ValueError(f"over {_MAX_MEMBERS} files")
    if sum(member.file_size for member in members) > MAX_SEGMENT_BYTES + _MAX_LINES_BYTES:
        raise ValueError(f"over {MAX_SEGMENT_BYTES >> 20} MiB when it is unpacked")
    return lambda name: read_member(
        archive, name, _MAX_LINES_BYTES if name == LINES else MAX_SEGMENT_BYTES
    )
