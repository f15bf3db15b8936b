"""What the runtime asks of CUDA, and nothing more.

Addresses, streams, events and graphs are the integers that CUDA itself uses, so that engines and
applications (PyCUDA, CuPy, torch) can be given them as they are.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProperties:
    """What an engine depends on besides its network."""

    name: str
    compute_capability: tuple[int, int]
    num_multiprocessors: int
    total_bytes: int
    driver_version: int  # as CUDA numbers it: 13000 is 13.0
    runtime_version: int


class Cuda(Protocol):
    """One device in the context that is current when it is opened.

    Everything that fails raises `EngineError` with CUDA's name of the error and what to do about
    it. Freeing what is 0, or what a destroyed context took along, is fine.

    Attributes:
        index: of the device, as in "cuda:0".
        is_primary: whether the context is the device's primary one, which libraries take that
            choose their context themselves.
    """

    index: int
    is_primary: bool

    def properties(self) -> DeviceProperties:
        """Of the device."""

    def free_bytes(self) -> int:
        """Device memory that can be allocated now."""

    def allocate(self, num_bytes: int) -> int:
        """Device memory; its address."""

    def free(self, address: int) -> None:
        """Release device memory."""

    def allocate_pinned(self, num_bytes: int) -> int:
        """Page-locked host memory, which copies need to run beside the host; its address."""

    def free_pinned(self, address: int) -> None:
        """Release page-locked memory."""

    def device_of(self, address: int) -> int | None:
        """Index of the device that memory is on; None if every device reaches it, or unknown."""

    def host_array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Page-locked memory as an array; must not be used after it was released."""

    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        """Copy in the order of a stream, between any two addresses of host and device."""

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""

    def destroy_stream(self, stream: int) -> None:
        """Release a stream once its work is done."""

    def synchronize(self, stream: int) -> None:
        """Wait until all work of a stream is done; raises what went wrong in it."""

    def create_event(self, timing: bool = False) -> int:
        """An event, with or without a clock."""

    def destroy_event(self, event: int) -> None:
        """Release an event."""

    def record(self, event: int, stream: int) -> None:
        """The event happens when all work that is now in the stream is done."""

    def wait(self, stream: int, event: int) -> None:
        """What is put into the stream from now on starts after the event."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Time between two events with clocks that have happened."""

    def begin_capture(self, stream: int) -> None:
        """From now on this stream, and those that wait for it, record work instead of doing it."""

    def end_capture(self, stream: int) -> int:
        """The recorded work as an executable graph; all other streams must have joined again."""

    def launch(self, graph: int, stream: int) -> None:
        """Do recorded work."""

    def destroy_graph(self, graph: int) -> None:
        """Release an executable graph."""
