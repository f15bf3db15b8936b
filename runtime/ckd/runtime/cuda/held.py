"""What an object got from CUDA, to be given back all at once."""

from contextlib import ExitStack

from ckd.runtime.cuda.api import Cuda


class Held(ExitStack):
    """Memory, streams and events of one owner.

    They are given back in reverse order by ``close``, each even if giving back another failed; a
    second ``close`` does nothing. What uses them must be over by then.
    """

    def __init__(self, cuda: Cuda) -> None:
        super().__init__()
        self._cuda = cuda

    def device(self, num_bytes: int) -> int:
        """Device memory; its address."""
        address = self._cuda.allocate(num_bytes)
        self.callback(self._cuda.free, address)
        return address

    def pinned(self, num_bytes: int) -> int:
        """Page-locked host memory; its address."""
        address = self._cuda.allocate_pinned(num_bytes)
        self.callback(self._cuda.free_pinned, address)
        return address

    def stream(self) -> int:
        """A stream."""
        stream = self._cuda.create_stream()
        self.callback(self._cuda.destroy_stream, stream)
        return stream

    def event(self) -> int:
        """An event without a clock."""
        event = self._cuda.create_event()
        self.callback(self._cuda.destroy_event, event)
        return event
