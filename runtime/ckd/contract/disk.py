"""What the disk is asked for: that bytes and names are on it, and what it means when it refuses.

Python's `os.fsync` of a file brings its bytes to the disk, and that of a folder the names in it; a
rename is lasting only once its folder was synced (POSIX.1-2017, `fsync`; Linux `fsync(2)`).
"""

import contextlib
import ctypes
import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

#: File systems that cannot sync a folder say one of these.
_NO_FOLDER_SYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)

#: The disk itself is at its end: whatever is written next fails too.
_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)

_REMEDIES: Final = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "remove some of your files, or write to another disk",
    errno.EFBIG: "this disk takes no file of that size; write to another one",
    errno.EIO: "the disk fails; write to another one",
    errno.EROFS: "this disk is read-only; name another folder",
    errno.EACCES: "change who may write there, or name another folder",
    errno.EPERM: "change who may write there, or name another folder",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ENOTDIR: "a part of the path is a file; name another folder",
    errno.EISDIR: "a folder has that name; rename it, or name another one",
    errno.EMFILE: "this process has too many files open",
    errno.ESTALE: "the network disk was cut off; repeat the command",
}


def sync_file(descriptor: int) -> None:
    """Bring the bytes of an open file to the disk; `OSError` if the disk refuses."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can.

    Raises:
        OSError: the disk refuses, or there is no such folder.
    """
    if os.name == "nt":
        return  # Windows opens no folder, and writes their names itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes | bytearray | memoryview) -> None:
    """Write all of it into an open file, of which one call may take a part.

    Raises:
        OSError: it cannot be written; a part of it may be in the file.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def lasting_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing; their names are on the disk then.

    Raises:
        OSError: one of them cannot be made, or the disk refuses.
    """
    make_missing(folder)
    folder.mkdir(exist_ok=True)  # complains if it is a file


def make_missing(folder: Path, mode: int = 0o777) -> None:
    """Make those of a folder and of all above it that do not exist; their names are on the disk.

    Raises:
        OSError: one of them cannot be made, or the disk refuses.
    """
    missing = [*itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents))]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode)
        sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Bring a folder to the disk, with all files and folders in it; their names come last."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync_path(Path(path) / name)
        sync_folder(Path(path))


def sync_together(files: Sequence[Path], folder: Path) -> None:
    """Bring closed files of one folder to the disk, in one step where the system can (Linux).

    `syncfs(2)` waits for the whole file system, but once: `os.fsync` of each file costs as many
    turns of its journal.

    Raises:
        OSError: the disk refuses.
    """
    if len(files) > 1 and _sync_disk_of(folder):
        return
    for path in files:
        _sync_path(path)


@contextlib.contextmanager
def naming(path: Path, *others: Path) -> Iterator[None]:
    """Within the block an `OSError` that names no file, as that of a full disk, names ``path``.

    So does one that names ``others``, or what lies below them: they are temporary.
    """
    try:
        yield
    except OSError as error:
        is_hidden = error.filename is None or any(
            Path(os.fsdecode(error.filename)).is_relative_to(other)
            for other in others
            if isinstance(error.filename, str | bytes)
        )
        if error.errno is None or not is_hidden:
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error


def is_of_the_disk(error: OSError) -> bool:
    """Whether what is written elsewhere on this disk will fail too: it is full, or read-only."""
    return error.errno in _DISK


def refusal(error: OSError) -> str:
    """An error of the system in one line: the file, what is wrong, and the remedy if one helps."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {remedy}" if remedy else "")


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_disk_of(folder: Path) -> bool:
    """Sync the file system that holds a folder; False where the system has no such call."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError, TypeError):  # macOS, Windows
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) == 0:
            return True
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            return False
        raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)
