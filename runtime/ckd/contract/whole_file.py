"""Files and folders that are there whole or not at all, whatever happens while they are written.

Each is written beside its place, brought to the disk, and then renamed, which file systems do in
one step; last, the folder that holds it is brought to the disk. So a kill, a full disk or a loss of
power leaves the old content or the new, and once a function here returns it is the new.
"""

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ckd.contract.disk import (
    lasting_folder,
    naming,
    sync_file,
    sync_folder,
    sync_together,
    sync_tree,
    write_all,
)
from ckd.contract.errors import UsageError
from ckd.contract.leftovers import BUILDING, claim, discard, sweep, temporary

#: Folders whose leftovers a process has removed already.
_FOLDERS: Final = 256


def replace_file(path: Path, content: bytes | memoryview, mode: int | None = None) -> None:
    """Write a file so that a reader gets either all of the old content or all of the new.

    Args:
        path: of the file.
        content: of it.
        mode: who may read and write it; None for what the process gives to new files.

    Raises:
        OSError: the file cannot be written, and is named; the old content stays.
    """
    with replacing(path) as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, before: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` at the end, as with `replace_file`.

    It lies beside ``path`` meanwhile. If anything is raised, the old content stays.

    Args:
        path: of the file.
        before: where the old content goes then. A kill between the two renames leaves it there and
            nothing at ``path``.
    """
    _sweep_once(path.parent)
    written = temporary(path)
    try:
        with naming(path, written):
            with written.open("xb") as file:
                claim(file.fileno())
                yield file
                file.flush()
                sync_file(file.fileno())
            if before is not None and path.exists():
                path.replace(before)
            written.replace(path)
            sync_folder(path.parent)
    finally:
        discard(written)


class FileGroup:
    """Files of one folder that belong together, such as those of one photograph.

    They are brought to the disk together and then get their names, in the order in which they were
    written; the last one is the head, and where it is all others are. If anything is raised in the
    ``with`` block, nothing of the group appears. Each is whole or absent whatever happens, but the
    names are lasting only once the folder was synced (`ckd.contract.disk.sync_folder`).

        with FileGroup(folder) as group:
            group.write("mole_mask.png", mask)
            group.write("mole.json", record)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: list[tuple[Path, Path]] = []  # temporary and final paths
        self._held = contextlib.ExitStack()  # the temporary files, open and so locked
        self._gone: list[Path] = []

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file of the group; `OSError` names its final path if it cannot be written."""
        path = self.folder / name
        written = temporary(path)
        self._parts.append((written, path))
        with naming(path, written):
            _check_name(path)
            file = self._held.enter_context(written.open("xb", buffering=0))
            claim(file.fileno())
            write_all(file.fileno(), content)

    def remove(self, name: str) -> None:
        """Remove a file of an earlier group when this one appears."""
        self._gone.append(self.folder / name)

    def __enter__(self) -> "FileGroup":
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        try:
            if kind is None and self._parts:
                self._appear()
        finally:
            self._held.close()
            for written, _ in self._parts:
                discard(written)

    def _appear(self) -> None:
        sync_together([written for written, _ in self._parts], self.folder)
        self._held.close()  # Windows renames no open file
        *others, (_, head) = self._parts
        if others or self._gone:  # an earlier head would speak of files that change now
            head.unlink(missing_ok=True)
        for path in self._gone:
            path.unlink(missing_ok=True)
        for written, path in self._parts:
            with naming(path, written):
                written.replace(path)


@dataclass(frozen=True, slots=True)
class NewFolder:
    """A folder that is being filled; see `new_folder`.

    Attributes:
        path: to be made and filled. It lies beside its final place.
        out: its final place.
    """

    path: Path
    out: Path

    def keep(self) -> None:
        """Bring everything in the folder to the disk, and move it to its place in one step.

        Raises:
            UsageError: the place is taken by now.
            OSError: the disk refuses.
        """
        sync_tree(self.path)
        try:
            with naming(self.out, self.path):
                self.path.rename(self.out)
        except OSError as error:
            if self.out.exists():
                raise UsageError(
                    f"{self.out} was made by another process meanwhile; remove it"
                ) from error
            raise
        sync_folder(self.out.parent)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[NewFolder]:
    """A folder that appears whole, once it is kept, or not at all.

        with new_folder(out) as new:
            (new.path / "a.txt").write_text(...)
            new.keep()

    What is not kept is removed when the block ends, and after a kill by whoever comes next.

    Raises:
        OSError: something cannot be written in it; ``out`` is named, not the temporary place.
    """
    lasting_folder(out.parent)
    sweep(out.parent)
    room = temporary(out, BUILDING)
    with naming(out, room):
        room.mkdir()
    held = None if os.name == "nt" else os.open(room, os.O_RDONLY)
    try:
        if held is not None:
            claim(held)
        with naming(out, room):
            # One folder deeper: what fills it may want to make it itself.
            yield NewFolder(room / "new", out)
    finally:
        discard(room)
        if held is not None:
            os.close(held)


def _check_name(path: Path) -> None:
    """Raise now what a rename would raise when other files of a group have their names already."""
    try:
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if is_folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


@functools.lru_cache(maxsize=_FOLDERS)
def _sweep_once(folder: Path) -> None:
    """Whoever writes in a folder for the first time removes what others left there."""
    sweep(folder)
