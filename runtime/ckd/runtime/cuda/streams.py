"""The engines of a cascade on their CUDA streams: all at once, or one after another."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Final

from ckd.contract.errors import EngineError
from ckd.contract.spec import CascadeSpec
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.held import Held
from ckd.runtime.cuda.schedule import ARRIVAL, plan_one_stream, plan_streams
from ckd.runtime.engine import Engine

_log = logging.getLogger(__name__)


class EngineStreams:
    """Engines that are bound to their buffers, the streams they run on and the events between.

    Args:
        cuda: the device.
        spec: says which node depends on which.
        engines: by node name.
        one_stream: the only stream that the engines can run on, if any; the caller owns it.

    Attributes:
        stream: the first one. Work that is in it before the engines has finished when they start;
            work that is put into it after them starts when all have finished.

    Raises:
        EngineError: streams or events cannot be created.
    """

    def __init__(
        self,
        cuda: Cuda,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        *,
        one_stream: int | None = None,
    ) -> None:
        self._cuda, self._engines = cuda, dict(engines)
        self._plan = plan_streams(spec) if one_stream is None else plan_one_stream(spec)
        self._is_capturable, self._is_warm = one_stream is None, False
        self._held: Final = Held(cuda)
        try:
            if one_stream is None:
                self._streams = [self._held.stream() for _ in range(self._plan.num_streams)]
            else:
                self._streams = [one_stream]
            self._events = {name: self._held.event() for name in self._plan.awaited}
        except BaseException:
            self._held.close()
            raise
        self.stream = self._streams[0]
        self._is_open = True

    def enqueue(self) -> None:
        """Put one run of every engine into the streams; does not wait for them.

        Raises:
            EngineError: an engine refused; others may be under way: `drain` before going on.
        """
        self._mark(ARRIVAL, self.stream)
        for step in self._plan.steps:
            stream = self._streams[step.stream]
            self._wait(stream, step.waits_for)
            self._engines[step.node].enqueue(stream)
            self._mark(step.node, stream)
        self._wait(self.stream, self._plan.joins)
        self._is_warm = True

    def steps(self) -> Iterator[str]:
        """Run engine after engine, and wait for each; gives the name of the node that has finished.

        Between steps nothing is under way, so the caller may stop after any of them. The image has
        been put into `stream` before.

        Raises:
            EngineError: an engine refused or failed, or the streams were closed: `drain`.
        """
        self._cuda.synchronize(self.stream)
        last = self._plan.steps[-1]
        for step in self._plan.steps:
            self.check_open()  # the caller may have closed it between steps
            if step.node not in self._engines:
                return  # a chain that is still being put together
            stream = self._streams[step.stream]
            self._engines[step.node].enqueue(stream)
            self._cuda.synchronize(stream)
            # After the last step every engine has run, each on the stream that it has in `enqueue`.
            self._is_warm |= step is last
            yield step.node

    @property
    def can_be_captured(self) -> bool:
        """Whether a CUDA graph may be captured: every engine has run once, no capture failed."""
        return self._is_capturable and self._is_warm

    def check_open(self) -> None:
        """Raise `EngineError` if this has been closed."""
        if not self._is_open:
            raise EngineError("this cascade has been closed; load it again")

    def give_up_capture(self, reason: BaseException) -> None:
        """Capture nothing from now on; the reason is logged once."""
        if self._is_capturable:
            self._is_capturable = False
            _log.warning(
                "this cascade cannot be captured into a CUDA graph (%s); "
                "its engines are started one by one for every frame, which takes longer",
                reason,
            )

    def drain(self) -> None:
        """Wait until no work is under way, whether or not it failed."""
        for stream in self._streams if self._is_open else ():
            with contextlib.suppress(EngineError):
                self._cuda.synchronize(stream)

    def close(self) -> None:
        """Release streams and events, which no work may be using; the engines stay open."""
        self._is_open = False
        self._held.close()

    def _mark(self, name: str, stream: int) -> None:
        if name in self._events:
            self._cuda.record(self._events[name], stream)

    def _wait(self, stream: int, names: tuple[str, ...]) -> None:
        for name in names:
            self._cuda.wait(stream, self._events[name])
