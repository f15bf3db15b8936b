"""A CUDA device that keeps count: what is copied, what is allocated, how long a frame takes it.

It stands between the runtime and the device, so what it counts is what the runtime really asked
for: of a captured graph, the copies inside it count each time that it is launched.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ckd.runtime.cuda.api import Cuda


@dataclass(frozen=True, slots=True)
class Copies:
    """What crossed the bus."""

    num_in: int  # host to device
    bytes_in: int
    num_out: int  # device to host
    bytes_out: int

    def __mul__(self, times: int) -> "Copies":
        return Copies(
            times * self.num_in, times * self.bytes_in, times * self.num_out, times * self.bytes_out
        )


class Meter:
    """`Cuda` that counts, and a `DeviceClock` of the frames that go through it.

    A frame's time runs from its first work in a stream to where the host waits for the last, as its
    runner does before it returns. What is not counted is handed on as it is.

    Attributes:
        num_allocations: of device and page-locked memory, so far.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._first, self._last = cuda.create_event(timing=True), cuda.create_event(timing=True)
        self._on_device: dict[int, int] = {}  # address to size
        self._counted: Counter[str] = Counter()
        self._recording: Counter[str] | None = None  # while a graph is captured
        self._graphs: dict[int, Counter[str]] = {}
        self._begun = self._started = False
        self._taken_ms = 0.0
        self.num_allocations = 0

    def start(self) -> None:
        """A frame begins: the count starts at nothing, the clock with the first work."""
        self._counted, self._taken_ms = Counter(), 0.0
        self._begun, self._started = True, False

    def stop(self) -> float:
        """Milliseconds of the frame that has just been waited for."""
        return self._taken_ms

    def copies(self) -> Copies:
        """Since the last `start`."""
        kinds = ("num_in", "bytes_in", "num_out", "bytes_out")
        return Copies(*(self._counted[kind] for kind in kinds))

    def close(self) -> None:
        """Release the events."""
        self._cuda.destroy_event(self._first)
        self._cuda.destroy_event(self._last)

    # The part of `Cuda` that is counted.

    def allocate(self, num_bytes: int) -> int:
        """See `Cuda`."""
        address = self._cuda.allocate(num_bytes)
        self._on_device[address] = num_bytes
        self.num_allocations += 1
        return address

    def free(self, address: int) -> None:
        """See `Cuda`."""
        self._on_device.pop(address, None)
        self._cuda.free(address)

    def allocate_pinned(self, num_bytes: int) -> int:
        """See `Cuda`."""
        self.num_allocations += 1
        return self._cuda.allocate_pinned(num_bytes)

    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        """See `Cuda`."""
        self._begin(stream)
        counted = self._counted if self._recording is None else self._recording
        if (inside := self._is_on_device(to)) != self._is_on_device(source):
            way = "in" if inside else "out"
            counted.update({f"num_{way}": 1, f"bytes_{way}": num_bytes})
        self._cuda.copy(to, source, num_bytes, stream)

    def begin_capture(self, stream: int) -> None:
        """See `Cuda`."""
        self._cuda.begin_capture(stream)
        self._recording = Counter()

    def end_capture(self, stream: int) -> int:
        """See `Cuda`."""
        recorded, self._recording = self._recording, None
        graph = self._cuda.end_capture(stream)
        self._graphs[graph] = recorded or Counter()
        return graph

    def launch(self, graph: int, stream: int) -> None:
        """See `Cuda`."""
        self._begin(stream)
        self._counted.update(self._graphs[graph])
        self._cuda.launch(graph, stream)

    def synchronize(self, stream: int) -> None:
        """See `Cuda`."""
        if self._started:
            self._cuda.record(self._last, stream)
        self._cuda.synchronize(stream)
        if self._started:
            self._taken_ms = self._cuda.elapsed_ms(self._first, self._last)
            self._begun = self._started = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cuda, name)

    def _begin(self, stream: int) -> None:
        if self._begun and not self._started and self._recording is None:
            self._cuda.record(self._first, stream)
            self._started = True

    def _is_on_device(self, address: int) -> bool:
        return any(at <= address < at + size for at, size in self._on_device.items())
