"""The way of one frame between host and device: one copy in, one copy out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.tensors import TensorSpec
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.held import Held
from ckd.runtime.cuda.memory import CudaBuffer

#: Answers start at multiples of this many bytes, more than any type or copy engine asks for.
_ALIGNMENT: Final = 256


class FrameMemory:
    """Page-locked memory for one image and its answers, and a block to gather answers in.

    Copies from and to other host memory would keep the host waiting and could not be captured.
    The answers are gathered on the device, where copies cost almost nothing, and cross the bus as
    one block.

    The host may not write the image before `send` is over, nor read `answers` before `fetch` is.

    Attributes:
        answers: by tensor name; views of the page-locked memory, gone with `close`.

    Raises:
        EngineError: memory is exhausted.
    """

    def __init__(self, cuda: Cuda, image: TensorSpec, outputs: Sequence[CudaBuffer]) -> None:
        self._cuda, self._image_spec, self._outputs = cuda, image, outputs
        self._offsets, self._num_bytes = _laid_out([buffer.spec for buffer in outputs])
        self._held = Held(cuda)
        try:
            self._staged = self._held.pinned(image.num_bytes)
            self._fetched = self._held.pinned(self._num_bytes)
            self._gathered = self._held.device(self._num_bytes)
            self._image = cuda.host_array(self._staged, image.shape, image.dtype)
            self.answers: Mapping[str, NDArray[Any]] = {
                buffer.spec.name: cuda.host_array(
                    self._fetched + offset, buffer.spec.shape, buffer.spec.dtype
                )
                for buffer, offset in zip(outputs, self._offsets, strict=True)
            }
        except BaseException:
            self.close()
            raise

    def stage(self, image_1HW3: NDArray[np.uint8]) -> None:
        """Write the image where it will be sent from; `EngineError` on another shape or type."""
        self._image_spec.check(image_1HW3)
        self._image[...] = image_1HW3

    def send(self, address: int, stream: int) -> None:
        """Copy the staged image to device memory."""
        self._cuda.copy(address, self._staged, self._image_spec.num_bytes, stream)

    def gather(self, stream: int) -> None:
        """Copy the answers side by side, on the device."""
        for buffer, offset in zip(self._outputs, self._offsets, strict=True):
            self._cuda.copy(self._gathered + offset, buffer.address, buffer.spec.num_bytes, stream)

    def fetch(self, stream: int) -> None:
        """Copy the gathered answers to the host."""
        self._cuda.copy(self._fetched, self._gathered, self._num_bytes, stream)

    def close(self) -> None:
        """Release the memory, which nothing may be using; calling it twice is fine."""
        self.answers = {}
        self._held.close()


def _laid_out(specs: Sequence[TensorSpec]) -> tuple[list[int], int]:
    """Where in a block each tensor starts, and how long the block is."""
    offsets, end = [], 0
    for spec in specs:
        offsets.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        end = offsets[-1] + spec.num_bytes
    return offsets, end
