"""The insides of the fake CUDA device: memory with fences, and work that runs when it pleases.

Work is a graph of tasks. Putting work into a stream makes it depend on what the stream did last,
waiting for an event adds what the event stands for, and nothing else orders it: any task whose
predecessors are done may be next. Which one is drawn by lot.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["device", "host"]

#: What fresh memory holds, and what released memory is overwritten with.
FRESH, RELEASED = 0xA5, 0xDD
_FENCE_BYTES = 4096


class Fault(Exception):
    """Memory was touched that is not there; on a GPU this ends the context."""


class WorkFailed(Exception):
    """A task raised; on a GPU that is known only later, to whoever asks next."""


@dataclass(eq=False)
class Allocation:
    kind: Kind
    address: int
    data: NDArray[np.uint8]
    is_released: bool = False

    @property
    def was_written_after_release(self) -> bool:
        return self.is_released and bool((self.data != RELEASED).any())


class Memory:
    """Allocations at made-up addresses, never used twice, with a fence behind each."""

    def __init__(self) -> None:
        self._allocations: list[Allocation] = []
        self._next: dict[Kind, int] = {"device": 0x7F00_0000_0000, "host": 0x5500_0000_0000}

    def allocate(self, kind: Kind, num_bytes: int) -> int:
        address = self._next[kind]
        pages = -(-num_bytes // _FENCE_BYTES)
        self._next[kind] += (pages + 1) * _FENCE_BYTES
        self._allocations.append(Allocation(kind, address, np.full(num_bytes, FRESH, np.uint8)))
        return address

    def release(self, kind: Kind, address: int) -> None:
        for allocation in self._allocations:
            if (allocation.kind, allocation.address) == (kind, address):
                if allocation.is_released:
                    raise Fault(f"{address:#x} is released twice")
                self._release(allocation)
                return
        raise Fault(f"{address:#x} is no address of {kind} memory that was allocated")

    def release_all(self) -> None:
        for allocation in self.held():
            self._release(allocation)

    def held(self) -> list[Allocation]:
        return [a for a in self._allocations if not a.is_released]

    def written_after_release(self) -> list[Allocation]:
        return [a for a in self._allocations if a.was_written_after_release]

    def find(self, address: int, num_bytes: int) -> tuple[Kind, NDArray[np.uint8]]:
        """The bytes at an address, which may lie inside an allocation."""
        for allocation in self._allocations:
            start = address - allocation.address
            if 0 <= start <= len(allocation.data):
                if allocation.is_released:
                    raise Fault(f"{address:#x} has been released")
                if num_bytes < 1 or start + num_bytes > len(allocation.data):
                    raise Fault(
                        f"{num_bytes} bytes at {address:#x} do not fit: {start} of "
                        f"{len(allocation.data)} lie before it"
                    )
                return allocation.kind, allocation.data[start : start + num_bytes]
        raise Fault(f"{address:#x} belongs to no allocation")

    @staticmethod
    def _release(allocation: Allocation) -> None:
        allocation.is_released = True
        allocation.data[:] = RELEASED


@dataclass(eq=False)
class Task:
    work: Callable[[], None]
    after: list["Task"]
    priority: float
    is_done: bool = False
    done_at: int = 0


@dataclass
class Device:
    """Runs tasks in an order that is allowed, drawn by lot.

    Attributes:
        eagerness: chance that something has run each time the host looks away. At 0 nothing runs
            until somebody waits for it, which finds a host that writes too early; above 0 it finds
            one that writes too late.
        tick: counts tasks, as a clock.
    """

    lot: random.Random
    eagerness: float
    tick: int = 0
    _pending: list[Task] = field(default_factory=list)

    def add(self, work: Callable[[], None], after: Iterable[Task], weight: float) -> Task:
        """Work that starts after other work; of streams with a low weight more is done early."""
        unfinished = [task for task in after if not task.is_done]
        task = Task(work, unfinished, weight + self.lot.random())
        self._pending.append(task)
        return task

    def run_until_done(self, tasks: Iterable[Task]) -> None:
        for task in list(tasks):
            while not task.is_done:
                self._run_one()

    @property
    def num_pending(self) -> int:
        """How many tasks are not done."""
        return len(self._pending)

    def run_all(self) -> None:
        while self._pending:
            self._run_one()

    def look_away(self) -> None:
        """The host does something else for a while."""
        while self._pending and self.lot.random() < self.eagerness:
            self._run_one()

    def forget_all(self) -> None:
        for task in self._pending:
            task.is_done = True
        self._pending.clear()

    def _run_one(self) -> None:
        ready = [t for t in self._pending if all(before.is_done for before in t.after)]
        task = min(ready, key=lambda t: t.priority)
        self._pending.remove(task)
        self.tick += 1
        task.is_done, task.done_at, task.after = True, self.tick, []
        try:
            task.work()
        except Exception as error:
            raise WorkFailed(str(error)) from error
