"""The timed turns of a race, call by call, without contenders that fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.gpu.contenders import Absent, reason_of
from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.meter import Copies
from ckd.benchmarks.gpu.steps import Step
from ckd.benchmarks.measure import interleaved

#: Least number of timed turns, and the share of the time left that they may take.
MIN_RUNS: Final = 20
_SHARE: Final = 0.3

Samples = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The figures of the turns of a race, by name; equal index, same turn. They may be empty."""

    runs: int
    wall_ms: Samples
    device_ms: Mapping[str, Sequence[float]]
    copies: Mapping[str, Copies]
    allocations: Mapping[str, int | None]
    dropped: tuple[Absent, ...]


class _Failed(Exception):
    """Raised from the exception of a contender in its turn."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def take_turns(
    steps: Mapping[str, Step],
    deadline: Deadline,
    *,
    runs: int,
    warmup: int,
    say: Callable[[str], None],
) -> Timed:
    """Time all contenders in turn; after one that raises, the others start again without it.

    Args:
        steps: the contenders by name.
        deadline: of the race; if time is short, fewer turns are taken.
        runs: timed turns at most.
        warmup: turns that do not count.
        say: told what happens.
    """
    racing, dropped = dict(steps), list[Absent]()

    def attempt() -> Timed:
        timed_runs, wall_ms, held = 0, Samples(), dict[str, int | None]()
        if racing:
            turns = {name: _named(name, step) for name, step in racing.items()}
            first_ms = interleaved(turns, warmup=0, runs=warmup + 1, rest_s=0.0)
            timed_runs = affordable(runs, first_ms, deadline)
            say(f"{timed_runs} turns of {len(racing)} contenders")
            held = {name: step.allocations() for name, step in racing.items()}
            wall_ms = interleaved(turns, warmup=0, runs=timed_runs, rest_s=0.0)
        return Timed(
            runs=timed_runs,
            wall_ms=wall_ms,
            device_ms={name: step.device_ms[-timed_runs:] for name, step in racing.items()},
            copies={name: step.copies() for name, step in racing.items()},
            allocations={
                name: _more(step.allocations(), held[name]) for name, step in racing.items()
            },
            dropped=tuple(dropped),
        )

    while True:
        try:
            return attempt()
        except _Failed as failed:
            cause = failed.__cause__
            assert isinstance(cause, Exception)
            del racing[failed.name]
            dropped.append(Absent(failed.name, f"failed while it was timed: {reason_of(cause)}"))
            say(f"{failed.name} {dropped[-1].reason}")


def _named(name: str, step: Step) -> Callable[[], None]:
    def turn() -> None:
        try:
            step()
        except Exception as error:
            raise _Failed(name) from error

    return turn


def affordable(runs: int, first_ms: Samples, deadline: Deadline) -> int:
    """The number of turns that fit into this race's share of the time left, ``runs`` at most."""
    turn_s = sum(float(np.median(taken_ms)) for taken_ms in first_ms.values()) / 1e3
    return min(runs, max(int(_SHARE * deadline.left_s / max(turn_s, 1e-6)), MIN_RUNS))


def _more(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before
