"""The part of CUDA that the runtime uses.

Addresses, streams, events and graphs are the integers that CUDA itself uses, so engines and
applications (PyCUDA, CuPy, torch) can use them directly.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProperties:
    """The properties of a device that an engine depends on."""

    name: str
    compute_capability: tuple[int, int]
    num_multiprocessors: int
    total_bytes: int
    driver_version: int  # as CUDA numbers it: 13000 is 13.0
    runtime_version: int


class Cuda(Protocol):
    """One device in the context that is current when it is opened.

    Everything that fails raises `EngineError` with CUDA's name of the error and the remedy. Freeing
    0, or something that was freed with its context, does nothing.

    Attributes:
        index: of the device: 0 of "cuda:0".
        is_primary: whether the context is the device's primary one, which libraries use that
            choose their context themselves.
    """

    index: int
    is_primary: bool

    def properties(self) -> DeviceProperties:
        """The device's properties."""

    def free_bytes(self) -> int:
        """Device memory that can be allocated now."""

    def allocate(self, num_bytes: int) -> int:
        """Allocate device memory; gives its address."""

    def free(self, address: int) -> None:
        """Release device memory."""

    def allocate_pinned(self, num_bytes: int) -> int:
        """Allocate page-locked host memory, which asynchronous copies need; gives its address."""

    def free_pinned(self, address: int) -> None:
        """Release page-locked memory."""

    def device_of(self, address: int) -> int | None:
        """Index of the device that memory is on; None if every device reaches it, or if unknown."""

    def host_array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Page-locked memory as an array, which must not be used after the memory is released."""

    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        """Put a copy into a stream, between any two addresses of host and device."""

    def create_stream(self) -> int:
        """Create a stream that does not wait for the default stream."""

    def destroy_stream(self, stream: int) -> None:
        """Release a stream, which happens once its work is done."""

    def synchronize(self, stream: int) -> None:
        """Wait until all work of a stream is done; raises an error that occurred in it."""

    def create_event(self, timing: bool = False) -> int:
        """Create an event, with or without a clock."""

    def destroy_event(self, event: int) -> None:
        """Release an event."""

    def record(self, event: int, stream: int) -> None:
        """Let the event happen when all work that is now in the stream is done."""

    def wait(self, stream: int, event: int) -> None:
        """Let work that is put into the stream from now on start after the event."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Time between two events that have clocks and have happened."""

    def begin_capture(self, stream: int) -> None:
        """Let this stream, and streams that wait for it, record work from now on, not do it."""

    def end_capture(self, stream: int) -> int:
        """End recording; gives an executable graph. This stream must have waited for all others."""

    def launch(self, graph: int, stream: int) -> None:
        """Put the recorded work of a graph into a stream."""

    def destroy_graph(self, graph: int) -> None:
        """Release an executable graph."""
