"""What is being written now, and what a process that died had begun to write.

Unfinished files and folders have names of their own. Whoever writes holds the kernel's lock on
them (`flock(2)`), which ends with its process however that ends; so what nobody holds is left over,
and the next writer removes it.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: How the names of files begin while they are being written.
WRITING: Final = ".writing-"
#: How the names of folders begin while they are being filled.
BUILDING: Final = ".bundle-"

#: A file is made before it is locked; what is younger than this is left alone.
_MADE_S: Final = 60.0
#: Where the file system has no locks, what is older than this is left over.
_ABANDONED_S: Final = 86400.0
#: Letters of the final name in a temporary one: together they fit where the final name does.
_SHOWN: Final = 24


def temporary(path: Path, prefix: str = WRITING) -> Path:
    """A name beside ``path`` that nobody else uses, never longer than file systems allow."""
    # Not by `tempfile`, whose files only their owner may read.
    return path.with_name(f"{prefix}{path.name[:_SHOWN]}-{os.getpid()}-{os.urandom(4).hex()}")


def claim(descriptor: int) -> bool | None:
    """Lock an open file or folder for this process, without waiting.

    Returns:
        True: this process has it. False: another one has. None: there are no locks here.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # NFS without its lock service, some shares
        return None
    return True


def sweep(folder: Path, *, is_alone: bool = False) -> None:
    """Remove what dead processes had begun in a folder; what cannot be removed stays.

    Args:
        folder: to look in, not below.
        is_alone: no other process writes here, so what nobody holds is left over however young.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((WRITING, BUILDING)):
                path = Path(entry.path)
                with contextlib.suppress(OSError):
                    if _is_left_over(path, is_alone=is_alone):
                        discard(path)


def discard(path: Path) -> None:
    """Remove a file or a folder, as far as it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _is_left_over(path: Path, *, is_alone: bool) -> bool:
    age_s = time.time() - path.stat().st_mtime
    if not is_alone and age_s < _MADE_S:
        return False
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        is_free = claim(descriptor)
    finally:
        os.close(descriptor)
    return is_alone or age_s > _ABANDONED_S if is_free is None else is_free
