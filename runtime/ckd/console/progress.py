"""What long work tells a person meanwhile: bars on a terminal, lines on stderr."""

import os
import sys
from collections.abc import Callable
from typing import Any

#: Told how much of a piece of work is done: (done, total).
Progress = Callable[[int, int], None]

#: Begins a piece of work of the name given; what it returns is told how much of it is done.
Bars = Callable[[str], Progress]

_bars: list[Any] = []  # those shown, to be taken down however the command ends


def progress_bar(unit: str) -> Progress:
    """A bar on a terminal, nothing elsewhere; the returned function is told (done, total)."""
    if not sys.stderr.isatty():
        return lambda done, total: None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(unit, total=None)
    bar.start()
    _bars.append(bar)

    def tell(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return tell


def no_bars(name: str) -> Progress:
    """`Bars` that show nothing."""
    return lambda done, total: None


def take_down_bars() -> None:
    """Remove every bar that is still shown, so that what is printed next stands alone."""
    while _bars:
        _bars.pop().stop()


def is_first_process() -> bool:
    """False in the processes that Lightning starts beside the one that was called."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def say(line: str) -> None:
    """A line on stderr, from the first process only."""
    if is_first_process():
        print(line, file=sys.stderr)
