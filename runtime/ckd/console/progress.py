"""How long work shows its progress: bars on a terminal, lines on stderr."""

import os
import sys
from collections.abc import Callable
from typing import Any

#: Called with how much of a piece of work is done: (done, total).
Progress = Callable[[int, int], None]

#: Called with the name of a piece of work that begins; gives the `Progress` of it.
Bars = Callable[[str], Progress]

_bars: list[Any] = []  # bars on the terminal, which `take_down_bars` removes


def progress_bar(unit: str) -> Progress:
    """A bar on a terminal; where stderr is no terminal, nothing is shown."""
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
    """Remove every bar from the terminal, before something else is printed."""
    while _bars:
        _bars.pop().stop()


def is_first_process() -> bool:
    """False in the further processes that Lightning starts to train on several devices."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def say(line: str) -> None:
    """Print a line on stderr, from the first process only."""
    if is_first_process():
        print(line, file=sys.stderr)
