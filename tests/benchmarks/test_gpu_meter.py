"""The counting device: what it counts, and from where to where it takes the time."""

from typing import cast

import pytest

from ckd.benchmarks.gpu.forwarding import ForwardingCuda
from ckd.benchmarks.gpu.meter import Copies, Meter
from ckd.runtime.cuda.api import Cuda

STREAM = 7


class ScriptedCuda:
    """A device on which every call takes a millisecond; addresses count up."""

    index, is_primary = 2, True

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.happened: dict[int, float] = {}
        self.alive: list[int] = []
        self.calls: list[str] = []
        self._next = 1000

    def create_event(self, timing: bool = False) -> int:
        assert timing
        self._next += 1
        self.alive.append(self._next)
        return self._next

    def destroy_event(self, event: int) -> None:
        self.alive.remove(event)

    def allocate(self, num_bytes: int) -> int:
        self._next += num_bytes
        return self._next - num_bytes

    allocate_pinned = allocate

    def free(self, address: int) -> None:
        self._tick("free")

    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        self._tick("copy")

    def begin_capture(self, stream: int) -> None:
        self._tick("begin_capture")

    def end_capture(self, stream: int) -> int:
        self._tick("end_capture")
        return 31

    def launch(self, graph: int, stream: int) -> None:
        self._tick(f"launch {graph}")

    def record(self, event: int, stream: int) -> None:
        assert stream == STREAM
        self.happened[event] = self.now_ms

    def synchronize(self, stream: int) -> None:
        self._tick("synchronize")

    def elapsed_ms(self, start: int, end: int) -> float:
        return self.happened[end] - self.happened[start]

    def _tick(self, call: str) -> None:
        self.calls.append(call)
        self.now_ms += 1.0


@pytest.fixture
def cuda() -> ScriptedCuda:
    return ScriptedCuda()


@pytest.fixture
def meter(cuda: ScriptedCuda) -> Meter:
    return Meter(cast(Cuda, cuda))


def test_only_what_crosses_the_bus_counts(meter: Meter) -> None:
    image, answers = meter.allocate(100), meter.allocate(40)
    staged, fetched = meter.allocate_pinned(100), meter.allocate_pinned(40)
    meter.start()
    meter.copy(image + 10, staged, 90, STREAM)
    meter.copy(answers, image, 40, STREAM)  # on the device
    meter.copy(fetched + 4, answers + 4, 30, STREAM)
    meter.copy(fetched, staged, 5, STREAM)  # on the host
    meter.synchronize(STREAM)
    assert meter.copies() == Copies(1, 90, 1, 30)
    assert meter.copies() * 3 == Copies(3, 270, 3, 90)
    assert meter.num_allocations == 4
    meter.start()
    assert meter.copies() == Copies(0, 0, 0, 0)


def test_memory_that_was_freed_is_not_the_devices(meter: Meter) -> None:
    gone, staged = meter.allocate(100), meter.allocate_pinned(100)
    meter.free(gone)
    meter.start()
    meter.copy(gone, staged, 100, STREAM)
    assert meter.copies() == Copies(0, 0, 0, 0)


def test_a_graph_copies_each_time_it_is_launched(meter: Meter, cuda: ScriptedCuda) -> None:
    image, staged = meter.allocate(100), meter.allocate_pinned(100)
    meter.start()
    meter.begin_capture(STREAM)
    meter.copy(image, staged, 100, STREAM)
    graph = meter.end_capture(STREAM)
    assert meter.copies() == Copies(0, 0, 0, 0)
    assert cuda.happened == {}  # no clock inside a capture
    for _ in range(2):
        meter.launch(graph, STREAM)
    assert meter.copies() == Copies(2, 200, 0, 0)
    assert cuda.calls[-1] == "launch 31"


def test_time_runs_from_the_first_work_to_the_wait_for_the_last(
    meter: Meter, cuda: ScriptedCuda
) -> None:
    image, staged = meter.allocate(100), meter.allocate_pinned(100)
    meter.start()
    meter.synchronize(STREAM)  # a runner asks whether the device is there: no work yet
    cuda.now_ms += 50.0  # it prepares the image on the host
    meter.copy(image, staged, 100, STREAM)
    meter.copy(image, staged, 100, STREAM)
    meter.synchronize(STREAM)
    assert meter.stop() == pytest.approx(2.0)
    meter.synchronize(STREAM)
    assert meter.stop() == pytest.approx(2.0)
    meter.start()
    assert meter.stop() == 0.0


def test_everything_else_is_the_devices_own(meter: Meter, cuda: ScriptedCuda) -> None:
    assert meter.index == 2
    with pytest.raises(AttributeError, match="fly"):
        meter.fly()  # type: ignore[attr-defined]
    assert len(cuda.alive) == 2
    meter.close()
    assert cuda.alive == []


def test_every_call_of_cuda_is_forwarded() -> None:
    """A call that is not overridden would do nothing, as the protocol has no code."""
    calls = {name for name, value in vars(Cuda).items() if callable(value) and name[0] != "_"}
    assert len(calls) > 20
    assert calls <= vars(ForwardingCuda).keys()
