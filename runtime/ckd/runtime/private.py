"""Files that this process runs or goes by, and so must have been written by its user or by root.

A compiled engine is code, and a remembered choice decides which one is taken. Who can write there
decides what the device says. So such a file is used only if it and its folder belong to this user
or to root and nobody else may write to them. That is asked of the open file and not of its path,
which somebody might change in between; and what is made here is for this user alone.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ckd.contract.disk import make_missing

#: Modes of what is made.
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class NotPrivate(OSError):
    """Somebody else could have written it; the message says who may, and what to do."""


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone.

    One of this user's that others may write to becomes private.

    Raises:
        NotPrivate: it is a link, another user's, or root's and others may write to it: nothing may
            be written there either, as what is written could end anywhere.
        OSError: it cannot be made.
    """
    make_missing(folder, FOLDER_MODE)
    opened = _opened_folder(folder)
    try:
        known = os.fstat(opened)
        if known.st_uid == _user() and known.st_mode & _OTHERS_WRITE:
            os.fchmod(opened, FOLDER_MODE)
        check_private(os.fstat(opened), folder)
    finally:
        os.close(opened)


@contextlib.contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A file to read, of which nobody but this user and root can have written a byte.

    Raises:
        NotPrivate: somebody else could; or it is a link, or no file.
        OSError: it cannot be opened.
    """
    folder = _opened_folder(path.parent)
    try:
        check_private(os.fstat(folder), path.parent)
        try:
            opened = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotPrivate(f"{path} is a link, and not used; remove it") from None
            raise
    finally:
        os.close(folder)
    try:
        known = os.fstat(opened)
        if not stat.S_ISREG(known.st_mode):
            raise NotPrivate(f"{path} is no file, and not used; remove it")
        check_private(known, path)
    except BaseException:
        os.close(opened)
        raise
    with os.fdopen(opened, "rb") as file:
        yield file


def _opened_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        if folder.is_symlink():
            raise NotPrivate(f"{folder} is a link, and not used; remove it") from None
        raise


def refusals(folder: Path) -> list[str]:
    """Of a folder and the files below it why each is not used that is not."""
    told = []
    for path in [folder, *sorted(folder.rglob("*"))] if folder.is_dir() else ():
        try:
            if path.is_dir() and not path.is_symlink():
                check_private(path.stat(), path)
            elif path.suffix != ".lock":  # nobody goes by what is in those
                with private_file(path):
                    pass
        except NotPrivate as error:
            told.append(str(error))
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError as error:
            told.append(f"{path} cannot be read ({error.strerror})")
    return told


def check_private(known: os.stat_result, path: Path) -> None:
    """Raise `NotPrivate` if a file or folder is another user's, or others may write to it."""
    if known.st_uid not in (0, _user()):
        raise NotPrivate(
            f"{path} belongs to user {known.st_uid}, and is not used by user {_user()}; remove it, "
            "or set CKD_CACHE to a folder of this user"
        )
    if known.st_mode & _OTHERS_WRITE:
        raise NotPrivate(
            f"{path} may be written by others (mode {stat.S_IMODE(known.st_mode):o}), and is not "
            f"used; `chmod go-w {path}` if nobody did, or remove it"
        )


def _user() -> int:
    return os.geteuid()
