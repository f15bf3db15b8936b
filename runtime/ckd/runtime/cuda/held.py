"""The CUDA resources of one object, released together."""

from contextlib import ExitStack

from ckd.runtime.cuda.api import Cuda


class Held(ExitStack):
    """Memory, streams and events of one owner.

    ``close`` releases them in reverse order, and goes on if one cannot be released; a second
    ``close`` does nothing. Work that uses them must have finished.
    """

    def __init__(self, cuda: Cuda) -> None:
        super().__init__()
        self._cuda = cuda

    def device(self, num_bytes: int) -> int:
        """Allocate device memory; gives its address."""
        address = self._cuda.allocate(num_bytes)
        self.callback(self._cuda.free, address)
        return address

    def pinned(self, num_bytes: int) -> int:
        """Allocate page-locked host memory; gives its address."""
        address = self._cuda.allocate_pinned(num_bytes)
        self.callback(self._cuda.free_pinned, address)
        return address

    def stream(self) -> int:
        """Create a stream."""
        stream = self._cuda.create_stream()
        self.callback(self._cuda.destroy_stream, stream)
        return stream

    def event(self) -> int:
        """Create an event without a clock."""
        event = self._cuda.create_event()
        self.callback(self._cuda.destroy_event, event)
        return event
