"""A CUDA device that forwards every call to another one, as a base for those that add something."""

from typing import Any

from numpy.typing import NDArray
from typing_extensions import override

from ckd.runtime.cuda.api import Cuda, DeviceProperties


class ForwardingCuda(Cuda):
    """`Cuda` by another `Cuda`; subclasses override what they change.

    Args:
        cuda: gets every call.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.index, self.is_primary = cuda.index, cuda.is_primary

    @override
    def properties(self) -> DeviceProperties:
        return self.cuda.properties()

    @override
    def free_bytes(self) -> int:
        return self.cuda.free_bytes()

    @override
    def allocate(self, num_bytes: int) -> int:
        return self.cuda.allocate(num_bytes)

    @override
    def free(self, address: int) -> None:
        self.cuda.free(address)

    @override
    def allocate_pinned(self, num_bytes: int) -> int:
        return self.cuda.allocate_pinned(num_bytes)

    @override
    def free_pinned(self, address: int) -> None:
        self.cuda.free_pinned(address)

    @override
    def device_of(self, address: int) -> int | None:
        return self.cuda.device_of(address)

    @override
    def host_array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return self.cuda.host_array(address, shape, dtype)

    @override
    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        self.cuda.copy(to, source, num_bytes, stream)

    @override
    def create_stream(self) -> int:
        return self.cuda.create_stream()

    @override
    def destroy_stream(self, stream: int) -> None:
        self.cuda.destroy_stream(stream)

    @override
    def synchronize(self, stream: int) -> None:
        self.cuda.synchronize(stream)

    @override
    def create_event(self, timing: bool = False) -> int:
        return self.cuda.create_event(timing)

    @override
    def destroy_event(self, event: int) -> None:
        self.cuda.destroy_event(event)

    @override
    def record(self, event: int, stream: int) -> None:
        self.cuda.record(event, stream)

    @override
    def wait(self, stream: int, event: int) -> None:
        self.cuda.wait(stream, event)

    @override
    def elapsed_ms(self, start: int, end: int) -> float:
        return self.cuda.elapsed_ms(start, end)

    @override
    def begin_capture(self, stream: int) -> None:
        self.cuda.begin_capture(stream)

    @override
    def end_capture(self, stream: int) -> int:
        return self.cuda.end_capture(stream)

    @override
    def launch(self, graph: int, stream: int) -> None:
        self.cuda.launch(graph, stream)

    @override
    def destroy_graph(self, graph: int) -> None:
        self.cuda.destroy_graph(graph)
