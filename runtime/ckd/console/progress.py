"""How long work shows its progress: bars on a terminal, lines on stderr."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

from ckd.contract.escapes import printable

#: Called with how much of a piece of work is done: (done, total).
Progress = Callable[[int, int], None]

#: Called with the name of a piece of work that begins; gives the `Progress` of it.
Bars = Callable[[str], Progress]

_bars: list[Any] = []  # bars on the terminal, which `take_down_bars` removes
_hidings: list[Callable[[str], str]] = []  # the one of `hide_names`, if any


def progress_bar(unit: str) -> Progress:
    """A bar on a terminal; where stderr is no terminal, nothing is shown."""
    if sys.stderr is None or not sys.stderr.isatty():
        return lambda done, total: None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(unit, total=None)
    bar.start()
    _bars.append(bar)

    def move(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done >= total:
            with contextlib.suppress(OSError):
                bar.stop()

    return move


def no_bars(name: str) -> Progress:
    """`Bars` that show nothing."""
    return lambda done, total: None


def take_down_bars() -> None:
    """Remove every bar from the terminal, before something else is printed."""
    while _bars:
        with contextlib.suppress(OSError):  # of a terminal that has gone
            _bars.pop().stop()


def is_first_process() -> bool:
    """False in the further processes that Lightning starts to train on several devices."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def say(line: str) -> None:
    """Print a line on stderr, from the first process only."""
    if is_first_process():
        on_stderr(line)


def show(text: object, keep: str = "", end: str = "\n") -> None:
    """Print text for people on stdout; `printable`, but for the characters ``keep``.

    JSON for programs is printed as it is: all that is not printable in it is an escape already.
    """
    print(printable(str(text), keep), end=end)


def hide_names(hiding: Callable[[str], str] | None) -> None:
    """Have a function take names out of every line on stderr from now on; None ends that."""
    _hidings[:] = [] if hiding is None else [hiding]


def on_stderr(text: str, keep: str = "") -> None:
    """Print text on stderr, if it can be; `printable`, but for the characters ``keep``.

    A terminal that was closed, or a log on a full disk, ends neither the work nor its clean-up.
    """
    for hiding in _hidings:
        text = hiding(text)
    if sys.stderr is not None:  # closed before the start, as by `2>&-`; stdout is for results
        with contextlib.suppress(OSError):
            print(printable(text, keep), file=sys.stderr, flush=True)


def give_up_streams() -> None:
    """Before a command ends: drop what stdout and stderr do not take.

    Python flushes both when it ends, and if that fails its exit code is 120, whatever the command
    said (CPython, `Py_FinalizeEx`).
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # was closed before the start
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
