"""Work that is put into streams piece by piece at first and replayed as one CUDA graph later."""

import contextlib
from collections.abc import Callable

from ckd.contract.errors import EngineError
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.streams import EngineStreams


class Replay:
    """The same work for every frame: same engines, same addresses, other contents.

    Nothing is captured before the engines have run once. They may initialise lazily then (load
    kernels, allocate scratch memory), which CUDA does not allow while work is recorded.

    Args:
        cuda: the device.
        chain: whose first stream all of the work starts from and joins again.
        work: puts it into the streams.
    """

    def __init__(self, cuda: Cuda, chain: EngineStreams, work: Callable[[], None]) -> None:
        self._cuda, self._chain, self._work = cuda, chain, work
        self._graph = 0

    def enqueue(self) -> None:
        """Put the work into the chain's stream: in pieces, or as a graph once that is possible.

        Raises:
            EngineError: it was refused, and some may be under way: drain the chain.
        """
        if not self._graph and self._chain.can_be_captured:
            self._capture()
        if self._graph:
            self._cuda.launch(self._graph, self._chain.stream)
        else:
            self._work()

    @property
    def is_captured(self) -> bool:
        """Whether it has become a graph."""
        return self._graph != 0

    def close(self) -> None:
        """Release the graph, of which no launch may be under way, for good."""
        self._cuda.destroy_graph(self._graph)

    def _capture(self) -> None:
        """Record the work; if that fails, nothing was done and it stays in pieces."""
        stream = self._chain.stream
        try:
            try:
                self._cuda.begin_capture(stream)
                self._work()
                self._graph = self._cuda.end_capture(stream)
            except BaseException:
                # Streams record until the end is called, even of what can no longer be used.
                with contextlib.suppress(EngineError):
                    self._cuda.destroy_graph(self._cuda.end_capture(stream))
                raise
        except EngineError as error:
            self._chain.give_up_capture(error)
