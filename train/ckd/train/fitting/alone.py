"""One process at a time in a folder: two would write over each other's checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckd.console import is_first_process
from ckd.contract.writer_lock import one_writer


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, see `one_writer`.

    The other processes of one training, which the first one starts, are let in.

    Raises:
        UsageError: another process works in the folder.
        OSError: the folder cannot be written to.
    """
    if not is_first_process():
        yield
        return
    with one_writer(folder, "wait for it, or name another folder with --out"):
        yield
