"""A CUDA device in host memory that does things in any order that CUDA would be allowed to.

`RecordingCuda` keeps to what is promised and to nothing else. Copies and engines run when somebody
waits for them, or a little earlier, interleaved by lot; a wait that is missing gives a wrong answer
for some seeds. What CUDA refuses, it refuses; what CUDA would silently do wrong (freed or foreign
addresses, events that were never recorded) is an error.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from tests.runtime.cuda.fake_capture import Capture, CaptureError, Graph
from tests.runtime.cuda.fake_device import Device, Fault, Kind, Memory, Task, WorkFailed
from typing_extensions import override

from ckd.contract.errors import EngineError
from ckd.runtime.cuda.api import Cuda, DeviceProperties

#: Seeds that together catch a missing wait almost surely.
SEEDS: Final = range(20)

_DEFAULT_STREAM: Final = 0
_Thing = TypeVar("_Thing")


@dataclass(eq=False)
class _Stream:
    weight: float
    tail: list[Task] = field(default_factory=list)
    capture: Capture | None = None


@dataclass(eq=False)
class _Event:
    has_clock: bool
    task: Task | None = None
    captured: tuple[Capture, frozenset[int]] | None = None


class RecordingCuda(Cuda):
    """The device in host memory.

    Args:
        seed: of the order in which work is done.
        eagerness: chance that work has been done before anybody waits for it; drawn by default.
        index: of the device.

    Attributes:
        num_allocations: of device and page-locked memory so far.
        copies: how often memory was copied, by "host to device" and so on. Counted when it happens.
        copied_bytes: the same in bytes.
        num_launches: of graphs.
        num_synchronizations: how often the host has waited.
        elsewhere: addresses that are on another device, with its index.
        fail_after: as many allocations, streams, events and graphs succeed; the next is refused.
    """

    def __init__(self, seed: int = 0, eagerness: float | None = None, index: int = 0) -> None:
        self.index, self.is_primary = index, True
        self.num_allocations = self.num_launches = self.num_synchronizations = 0
        self.copies: Counter[str] = Counter()
        self.copied_bytes: Counter[str] = Counter()
        self.elsewhere: dict[int, int] = {}
        self.fail_after: int | None = None
        self._lot = random.Random(seed)
        drawn = self._lot.choice((0.0, 0.3, 0.8))
        self._device = Device(self._lot, drawn if eagerness is None else eagerness)
        self._memory = Memory()
        self._streams = {_DEFAULT_STREAM: _Stream(weight=0.0)}
        self._events: dict[int, _Event] = {}
        self._graphs: dict[int, Graph] = {}
        self._captures: list[Capture] = []
        self._num_handles = 0
        self._misused: list[str] = []
        self._ended_by: str | None = None

    # For tests

    def put(self, stream: int, work: Callable[[], None]) -> None:
        """What starting a kernel is: work in the order of a stream."""
        with self._call():
            self._put(stream, work)

    def bytes_at(self, address: int, num_bytes: int) -> NDArray[np.uint8]:
        """Memory itself, for the work of a kernel."""
        return self._memory.find(address, num_bytes)[1]

    def destroy_context(self) -> None:
        """What an application may do at any time: memory, streams and work are gone."""
        self._end("CUDA_ERROR_CONTEXT_IS_DESTROYED")

    @property
    def streams(self) -> list[int]:
        """Those that were created and not destroyed, oldest first."""
        return [handle for handle in self._streams if handle != _DEFAULT_STREAM]

    @property
    def num_under_way(self) -> int:
        """How many copies, kernels and events are in streams and not done."""
        return self._device.num_pending

    def leaks(self) -> list[str]:
        """What is still held, and what was touched after its release; all work is run first."""
        leaks = []
        try:
            self._device.run_all()
        except Exception as error:
            leaks.append(f"work that was under way touched what is gone: {error}")
        for allocation in self._memory.held():
            leaks.append(f"{len(allocation.data)} bytes of {allocation.kind} memory")
        for allocation in self._memory.written_after_release():
            leaks.append(f"released {allocation.kind} memory was written")
        leaks.extend(self._misused)
        leaks.extend("a stream" for _ in self.streams)
        leaks.extend("an event" for _ in self._events)
        leaks.extend("a graph" for _ in self._graphs)
        return leaks

    # The protocol

    @override
    def properties(self) -> DeviceProperties:
        with self._call():
            return DeviceProperties(
                name="Recording",
                compute_capability=(9, 0),
                num_multiprocessors=4,
                total_bytes=1 << 30,
                driver_version=13000,
                runtime_version=13000,
            )

    @override
    def free_bytes(self) -> int:
        with self._call():
            held = (len(a.data) for a in self._memory.held() if a.kind == "device")
            return (1 << 30) - sum(held)

    @override
    def allocate(self, num_bytes: int) -> int:
        return self._allocate("device", num_bytes)

    @override
    def free(self, address: int) -> None:
        self._free("device", address)

    @override
    def allocate_pinned(self, num_bytes: int) -> int:
        return self._allocate("host", num_bytes)

    @override
    def free_pinned(self, address: int) -> None:
        self._free("host", address)

    @override
    def device_of(self, address: int) -> int | None:
        with self._call():
            return self.elsewhere.get(address)

    @override
    def host_array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        with self._call():
            num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
            kind, data = self._memory.find(address, num_bytes)
            if kind != "host":
                raise Fault(f"{address:#x} is device memory, which the host cannot touch")
            return data.view(dtype).reshape(shape)

    @override
    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        with self._call():
            to_kind, _ = self._memory.find(to, num_bytes)
            source_kind, _ = self._memory.find(source, num_bytes)

        def work() -> None:
            self.bytes_at(to, num_bytes)[:] = self.bytes_at(source, num_bytes)
            self.copies[f"{source_kind} to {to_kind}"] += 1
            self.copied_bytes[f"{source_kind} to {to_kind}"] += num_bytes

        self.put(stream, work)

    @override
    def create_stream(self) -> int:
        # Some streams are always ahead of others, which a lot for every task alone seldom gives.
        stream = _Stream(weight=self._lot.choice((0.0, 0.0, 1.0, 2.0)))
        return self._create(self._streams, stream)

    @override
    def destroy_stream(self, stream: int) -> None:
        if any(stream in capture.tails for capture in self._captures):
            raise EngineError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: the stream is recording")
        self._destroy(self._streams, stream)

    @override
    def synchronize(self, stream: int) -> None:
        with self._call():
            self._refuse_while_recording("a wait of the host")
            self.num_synchronizations += 1
            self._device.run_until_done(self._find(self._streams, stream).tail)

    @override
    def create_event(self, timing: bool = False) -> int:
        return self._create(self._events, _Event(has_clock=timing))

    @override
    def destroy_event(self, event: int) -> None:
        self._destroy(self._events, event)

    @override
    def record(self, event: int, stream: int) -> None:
        with self._call():
            marked, source = self._find(self._events, event), self._find(self._streams, stream)
            if source.capture is not None:
                source.capture.check()
                marked.task, marked.captured = None, (source.capture, source.capture.tails[stream])
            else:
                marked.task, marked.captured = self._put(stream, _nothing), None

    @override
    def wait(self, stream: int, event: int) -> None:
        with self._call():
            marked, waiting = self._find(self._events, event), self._find(self._streams, stream)
            if marked.captured is not None:
                capture, nodes = marked.captured
                if capture not in self._captures:
                    raise CaptureError("STREAM_CAPTURE_ISOLATION: the event's recording has ended")
                if waiting.capture not in (None, capture):
                    raise CaptureError("STREAM_CAPTURE_MERGE: two recordings would be joined")
                if stream == _DEFAULT_STREAM:
                    raise CaptureError("STREAM_CAPTURE_IMPLICIT: the default stream cannot record")
                capture.join(stream, nodes)
                waiting.capture = capture
            elif marked.task is None:
                raise Fault("wait for an event that was never recorded: CUDA would not wait")
            elif waiting.capture is not None:
                waiting.capture.broken_by = "a wait for work outside"
                raise CaptureError("STREAM_CAPTURE_ISOLATION: a wait for work that is not recorded")
            else:
                waiting.tail = [*waiting.tail, marked.task]

    @override
    def elapsed_ms(self, start: int, end: int) -> float:
        with self._call():
            self._refuse_while_recording("a question for the time")
            ticks = []
            for event in (self._find(self._events, start), self._find(self._events, end)):
                if not event.has_clock or event.task is None:
                    raise Fault("the event has no clock, or none that was started")
                if not event.task.is_done:
                    raise Fault("CUDA_ERROR_NOT_READY: the event has not happened")
                ticks.append(event.task.done_at)
            return float(ticks[1] - ticks[0])

    @override
    def begin_capture(self, stream: int) -> None:
        with self._call():
            recording = self._find(self._streams, stream)
            if recording.capture is not None or stream == _DEFAULT_STREAM:
                raise CaptureError("the stream is recording already, or is the default one")
            recording.capture = Capture(stream)
            self._captures.append(recording.capture)

    @override
    def end_capture(self, stream: int) -> int:
        with self._call():
            capture = self._find(self._streams, stream).capture
            if capture is None or capture.origin != stream:
                raise CaptureError("STREAM_CAPTURE_UNMATCHED: the stream did not begin to record")
            self._captures.remove(capture)
            for joined in self._streams.values():
                if joined.capture is capture:
                    joined.capture = None
            graph = capture.end()
        return self._create(self._graphs, graph)

    @override
    def launch(self, graph: int, stream: int) -> None:
        with self._call():
            launched, target = self._find(self._graphs, graph), self._find(self._streams, stream)
            if target.capture is not None:
                raise CaptureError("graphs inside graphs are not part of this fake")
            self.num_launches += 1
            before = [*target.tail, *launched.last_launch]
            tasks: list[Task] = []
            for node in launched.nodes:
                after = [*before, *(tasks[n] for n in node.after)]
                tasks.append(self._device.add(node.work, after, node.weight))
            end = self._device.add(_nothing, [*before, *tasks], target.weight)
            target.tail = launched.last_launch = [end]

    @override
    def destroy_graph(self, graph: int) -> None:
        if graph in self._graphs and not all(t.is_done for t in self._graphs[graph].last_launch):
            raise EngineError("the graph is destroyed while it runs")
        self._destroy(self._graphs, graph)

    # How it is done

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Everything that fails raises `EngineError`; a fault in work ends the context."""
        if self._ended_by is not None:
            raise EngineError(f"{self._ended_by}: make a new context and load the cascade again")
        try:
            self._device.look_away()
            yield
        except WorkFailed as error:
            self._end(f"CUDA_ERROR_LAUNCH_FAILED: {error}")
            raise EngineError(f"CUDA_ERROR_LAUNCH_FAILED: {error}") from error
        except (Fault, CaptureError) as error:
            raise EngineError(f"CUDA_ERROR_{error}") from error

    def _end(self, reason: str) -> None:
        self._ended_by = reason
        self._device.forget_all()
        self._memory.release_all()
        self._streams = {_DEFAULT_STREAM: _Stream(weight=0.0)}
        self._events, self._graphs, self._captures = {}, {}, []

    def _create(self, things: dict[int, _Thing], thing: _Thing) -> int:
        with self._call():
            self._take_one()
            self._num_handles += 1
            handle = 0x1000 + 16 * self._num_handles
            things[handle] = thing
            return handle

    def _destroy(self, things: dict[int, _Thing], handle: int) -> None:
        if handle != 0 and self._ended_by is None:
            with self._call():
                self._find(things, handle)
                del things[handle]

    def _allocate(self, kind: Kind, num_bytes: int) -> int:
        with self._call():
            self._refuse_while_recording("an allocation")
            self._take_one()
            self.num_allocations += 1
            return self._memory.allocate(kind, num_bytes)

    def _free(self, kind: Kind, address: int) -> None:
        if address != 0 and self._ended_by is None:
            with self._call():
                self._refuse_while_recording("freeing memory")
                self._memory.release(kind, address)

    def _take_one(self) -> None:
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise Fault("OUT_OF_MEMORY: close other programs or take a smaller cascade")
            self.fail_after -= 1

    def _put(self, stream: int, work: Callable[[], None]) -> Task | None:
        target = self._find(self._streams, stream)
        if target.capture is not None:
            target.capture.add(stream, work, target.weight)
            return None
        task = self._device.add(work, target.tail, target.weight)
        target.tail = [task]
        return task

    def _refuse_while_recording(self, what: str) -> None:
        """CUDA allows some of it on other streams; nothing here has a reason to."""
        for capture in self._captures:
            capture.broken_by = what
        if self._captures:
            raise CaptureError(f"STREAM_CAPTURE_UNSUPPORTED: {what} while work is recorded")

    def _find(self, things: dict[int, _Thing], handle: int) -> _Thing:
        if handle not in things:
            # CUDA may crash; an error alone might be suppressed by whoever expects another.
            self._misused.append(f"handle {handle:#x} was used, which there is not")
            raise Fault(f"INVALID_HANDLE: {handle:#x}")
        return things[handle]


def _nothing() -> None:
    """The work of an event, and of the end of a graph."""
