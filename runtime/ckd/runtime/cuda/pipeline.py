"""Streams of frames: while one is computed, the next is copied in and the previous one out.

Two slots take turns. Each has page-locked memory, device memory for its image, a block where its
outputs are gathered, and a stream for its copies, which the copy engines do during the computation.
The engines have one set of buffers, so frames are computed one after another, on their streams:

    slot 0's copies   in 0 ┐       ┌ out 0   in 2 ┐       ┌ out 2
    engines                └ 0 ────┴ 1 ───┬───────┴ 2 ────┘
    slot 1's copies          in 1 ┘       └ out 1   in 3

No copy has to wait until the slot's memory is free: the host gives a slot its next image only after
it has waited for the slot's previous outputs, whose copy is the last work of the slot.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import EngineError
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.frame import FrameMemory
from ckd.runtime.cuda.held import Held
from ckd.runtime.cuda.memory import CudaBuffer
from ckd.runtime.cuda.replay import Replay
from ckd.runtime.cuda.streams import EngineStreams
from ckd.runtime.engine import Outputs

_NUM_SLOTS: Final = 2


def overlapped(
    cuda: Cuda,
    engines: EngineStreams,
    image: CudaBuffer,
    outputs: Sequence[CudaBuffer],
    images: Iterable[NDArray[np.uint8]],
) -> Iterator[Outputs]:
    """The outputs for images [1, S, S, 3], in order, each while the next is under way.

    This is for throughput: outputs come one image late, because the next image is taken first. They
    are page-locked memory, valid until the next ones are asked for. Memory and streams are released
    at the end, or when the iterator is closed or deleted.

    Raises:
        EngineError: memory is exhausted, or an engine failed. It is raised after the outputs for
            the images before; so is an exception of ``images``.
    """
    with Held(cuda) as held:
        slots = [_Slot(cuda, engines, image, outputs, held) for _ in range(_NUM_SLOTS)]
        held.callback(_drain, engines, slots)
        source, turns = iter(images), itertools.cycle(slots)
        under_way: _Slot | None = None
        end: Exception | None = None
        while end is None:
            slot = next(turns)
            try:
                slot.submit(next(source))
            except Exception as error:
                end = error
            if under_way is not None:
                yield under_way.collect()
            under_way = slot
        if not isinstance(end, StopIteration):
            raise end


class _Slot:
    """The memory and streams of one frame, which no other may use while it is under way."""

    def __init__(
        self,
        cuda: Cuda,
        engines: EngineStreams,
        image: CudaBuffer,
        outputs: Sequence[CudaBuffer],
        held: Held,
    ) -> None:
        self._cuda, self._engines, self._image = cuda, engines, image
        self._frame = FrameMemory(cuda, image.spec, outputs)
        held.callback(self._frame.close)
        self._landed = held.device(image.spec.num_bytes)
        self._copies = held.stream()
        self._arrival, self._computed = held.event(), held.event()
        self._compute = Replay(cuda, engines, self._enqueue_compute)
        held.callback(self._compute.close)

    def submit(self, image_1HW3: NDArray[np.uint8]) -> None:
        """Put all work of a frame into the streams; does not wait for it."""
        self._engines.check_open()
        # A destroyed context unmaps page-locked memory, so check the context before writing to it.
        self._cuda.synchronize(self._copies)
        self._frame.stage(image_1HW3)
        self._frame.send(self._landed, self._copies)
        self._cuda.record(self._arrival, self._copies)
        self._cuda.wait(self._engines.stream, self._arrival)
        self._compute.enqueue()
        self._cuda.record(self._computed, self._engines.stream)
        self._cuda.wait(self._copies, self._computed)
        self._frame.fetch(self._copies)

    def collect(self) -> Outputs:
        """Wait for the frame; gives its outputs."""
        self._cuda.synchronize(self._copies)
        return self._frame.answers

    def drain(self) -> None:
        """Wait until no work is under way, whether or not it failed."""
        with contextlib.suppress(EngineError):
            self._cuda.synchronize(self._copies)

    def _enqueue_compute(self) -> None:
        stream = self._engines.stream
        self._cuda.copy(self._image.address, self._landed, self._image.spec.num_bytes, stream)
        self._engines.enqueue()
        self._frame.gather(stream)


def _drain(engines: EngineStreams, slots: Sequence[_Slot]) -> None:
    engines.drain()
    for slot in slots:
        slot.drain()
