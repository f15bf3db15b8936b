"""A CUDA device that counts copies and allocations, and times frames.

It stands between the runtime and the device, so it counts what the runtime really asked for. The
copies inside a captured graph count each time that the graph is launched.
"""

from collections import Counter
from dataclasses import dataclass

from typing_extensions import override

from ckd.benchmarks.gpu.clock import DeviceClock
from ckd.benchmarks.gpu.forwarding import ForwardingCuda
from ckd.runtime.cuda.api import Cuda


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies between host and device."""

    num_in: int  # host to device
    bytes_in: int
    num_out: int  # device to host
    bytes_out: int

    def __mul__(self, times: int) -> "Copies":
        return Copies(
            times * self.num_in, times * self.bytes_in, times * self.num_out, times * self.bytes_out
        )


class Meter(ForwardingCuda, DeviceClock):
    """`Cuda` that counts, and a `DeviceClock` of the frames that go through it.

    A frame's time runs from its first work in a stream to where the host waits for the last, as its
    runner does before it returns.

    Attributes:
        num_allocations: of device and page-locked memory, so far.
    """

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(cuda)
        self._first, self._last = cuda.create_event(timing=True), cuda.create_event(timing=True)
        self._on_device: dict[int, int] = {}  # address to size
        self._counted: Counter[str] = Counter()
        self._recording: Counter[str] | None = None  # while a graph is captured
        self._graphs: dict[int, Counter[str]] = {}
        self._begun = self._started = False
        self._taken_ms = 0.0
        self.num_allocations = 0

    @override
    def start(self) -> None:
        # The count of copies starts at 0 now, the clock with the first work.
        self._counted, self._taken_ms = Counter(), 0.0
        self._begun, self._started = True, False

    @override
    def stop(self) -> float:
        return self._taken_ms

    def copies(self) -> Copies:
        """The copies since the last `start`."""
        kinds = ("num_in", "bytes_in", "num_out", "bytes_out")
        return Copies(*(self._counted[kind] for kind in kinds))

    def close(self) -> None:
        """Release the events."""
        self.cuda.destroy_event(self._first)
        self.cuda.destroy_event(self._last)

    @override
    def allocate(self, num_bytes: int) -> int:
        address = self.cuda.allocate(num_bytes)
        self._on_device[address] = num_bytes
        self.num_allocations += 1
        return address

    @override
    def free(self, address: int) -> None:
        self._on_device.pop(address, None)
        self.cuda.free(address)

    @override
    def allocate_pinned(self, num_bytes: int) -> int:
        self.num_allocations += 1
        return self.cuda.allocate_pinned(num_bytes)

    @override
    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        self._begin(stream)
        counted = self._counted if self._recording is None else self._recording
        if (inside := self._is_on_device(to)) != self._is_on_device(source):
            way = "in" if inside else "out"
            counted.update({f"num_{way}": 1, f"bytes_{way}": num_bytes})
        self.cuda.copy(to, source, num_bytes, stream)

    @override
    def begin_capture(self, stream: int) -> None:
        self.cuda.begin_capture(stream)
        self._recording = Counter()

    @override
    def end_capture(self, stream: int) -> int:
        recorded, self._recording = self._recording, None
        graph = self.cuda.end_capture(stream)
        self._graphs[graph] = recorded or Counter()
        return graph

    @override
    def launch(self, graph: int, stream: int) -> None:
        self._begin(stream)
        self._counted.update(self._graphs[graph])
        self.cuda.launch(graph, stream)

    @override
    def synchronize(self, stream: int) -> None:
        if self._started:
            self.cuda.record(self._last, stream)
        self.cuda.synchronize(stream)
        if self._started:
            self._taken_ms = self.cuda.elapsed_ms(self._first, self._last)
            self._begun = self._started = False

    def _begin(self, stream: int) -> None:
        if self._begun and not self._started and self._recording is None:
            self.cuda.record(self._first, stream)
            self._started = True

    def _is_on_device(self, address: int) -> bool:
        return any(at <= address < at + size for at, size in self._on_device.items())
