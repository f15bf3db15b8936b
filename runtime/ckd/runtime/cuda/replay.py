"""Work that is first put into streams piece by piece and later replayed as one CUDA graph."""

import contextlib
from collections.abc import Callable

from ckd.contract.errors import EngineError
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.streams import EngineStreams


class Replay:
    """The same work for every frame: the same engines and addresses, with other contents.

    Nothing is captured before every engine has run once. In its first run an engine may load
    kernels and allocate scratch memory, which CUDA does not allow while work is recorded.

    Args:
        cuda: the device.
        engines: all of the work starts from its first stream and joins it again.
        work: puts the work into the streams.
    """

    def __init__(self, cuda: Cuda, engines: EngineStreams, work: Callable[[], None]) -> None:
        self._cuda, self._engines, self._work = cuda, engines, work
        self._graph = 0

    def enqueue(self) -> None:
        """Put the work into the engines' stream: in pieces, or as a graph once that is possible.

        Raises:
            EngineError: something was refused; earlier pieces may be under way: drain the engines.
        """
        if not self._graph and self._engines.can_be_captured:
            self._capture()
        if self._graph:
            self._cuda.launch(self._graph, self._engines.stream)
        else:
            self._work()

    @property
    def is_captured(self) -> bool:
        """Whether the work has been captured as a graph."""
        return self._graph != 0

    def close(self) -> None:
        """Release the graph; none of its launches may be under way."""
        self._cuda.destroy_graph(self._graph)

    def _capture(self) -> None:
        """Record the work; if that fails, no work was done, and it stays in pieces."""
        stream = self._engines.stream
        try:
            try:
                self._cuda.begin_capture(stream)
                self._work()
                self._graph = self._cuda.end_capture(stream)
            except BaseException:
                # Streams record until the capture is ended, even a capture that has failed.
                with contextlib.suppress(EngineError):
                    self._cuda.destroy_graph(self._cuda.end_capture(stream))
                raise
        except EngineError as error:
            self._engines.give_up_capture(error)
