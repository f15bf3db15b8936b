"""One process at a time in a folder: two would write over each other's checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ckd.console import is_first_process
from ckd.contract.errors import UsageError


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock beside the folder, `.<name>.lock`; a process that is killed lets go of it.

    The other processes of one training, which the first one starts, are let in.

    Raises:
        UsageError: another process works in the folder.
    """
    if not is_first_process():
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"{folder}: another process works in it; wait for that one, or name another folder "
            "with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
