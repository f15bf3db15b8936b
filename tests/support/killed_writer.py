"""Kills a process before and after every step of what it writes, each time from the same start.

    for step, folder in killed_everywhere(write, start, room): ...

Steps are the calls by which a folder can change on a disk: opening, writing by path, syncing,
renaming, removing, making folders.
"""

import contextlib
import ctypes
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

#: Where a step is found, and its name.
_STEPS: Final[list[tuple[Any, str]]] = [
    *((Path, name) for name in ("open", "write_bytes", "replace", "rename", "unlink", "mkdir")),
    *((os, name) for name in ("fsync", "open", "write", "ftruncate", "rmdir", "unlink")),
    (shutil, "rmtree"),
]


def killed_everywhere(
    write: Callable[[Path], object], start: Callable[[Path], object], folder: Path
) -> Iterator[tuple[str, Path]]:
    """After each kill: the step that it came before or after, and the folder as it is then.

    Args:
        write: what is killed; given the folder.
        start: fills the folder beforehand.
        folder: made anew for every kill.
    """
    for number in range(10_000):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        start(folder)
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reading)
            _die_at(number, writing)
            with contextlib.suppress(BaseException):
                write(folder)
            os._exit(0)
        os.close(writing)
        with open(reading) as said:  # noqa: PTH123
            step = said.read()
        _, status = os.waitpid(child, 0)
        yield step, folder
        if not os.WIFSIGNALED(status):
            return


def _die_at(number: int, told: int) -> None:
    """Replace every step by one that counts, in this process alone: it is a child."""
    count, write = 0, os.write

    def counted(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **settings: Any) -> Any:
            nonlocal count
            place = count
            count += 2
            if place == number:
                die(f"before {name}")
            try:
                return step(*arguments, **settings)
            finally:
                if place + 1 == number:
                    die(f"after {name}")

        return wrapped

    def die(where: str) -> None:
        write(told, where.encode())
        os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in _STEPS:
        setattr(owner, name, counted(f"{owner.__name__}.{name}", getattr(owner, name)))
    library = ctypes.CDLL(None, use_errno=True)
    syncfs = counted("syncfs", library.syncfs)
    ctypes.CDLL = lambda *about, **more: type("System", (), {"syncfs": staticmethod(syncfs)})  # type: ignore[misc,assignment]
