"""One frame's copies between host and device: one in, one out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.tensors import TensorSpec
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.held import Held
from ckd.runtime.cuda.memory import CudaBuffer

#: Outputs start at multiples of this many bytes, more than any type or copy engine requires.
_ALIGNMENT: Final = 256


class FrameMemory:
    """Page-locked memory for one image and its outputs, and a block to gather outputs in.

    Copies from and to pageable memory would block the host and could not be captured. The outputs
    are gathered on the device, where copies cost almost nothing, and cross the bus as one block.

    The host must not write the image before `send` has finished, nor read `answers` before `fetch`
    has finished.

    Attributes:
        answers: outputs by tensor name; views of the page-locked memory, which `close` releases.

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
        """Write the image to page-locked memory; `EngineError` on another shape or type."""
        self._image_spec.check(image_1HW3)
        self._image[...] = image_1HW3

    def send(self, address: int, stream: int) -> None:
        """Put a copy of the staged image to device memory into a stream."""
        self._cuda.copy(address, self._staged, self._image_spec.num_bytes, stream)

    def gather(self, stream: int) -> None:
        """Put copies of the outputs into one block on the device into a stream."""
        for buffer, offset in zip(self._outputs, self._offsets, strict=True):
            self._cuda.copy(self._gathered + offset, buffer.address, buffer.spec.num_bytes, stream)

    def fetch(self, stream: int) -> None:
        """Put a copy of the gathered outputs to the host into a stream."""
        self._cuda.copy(self._fetched, self._gathered, self._num_bytes, stream)

    def close(self) -> None:
        """Release the memory, which no copy may be using; calling it twice is allowed."""
        self.answers = {}
        self._held.close()


def _laid_out(specs: Sequence[TensorSpec]) -> tuple[list[int], int]:
    """The offset of each tensor in a block, and the size of the block, in bytes."""
    offsets, end = [], 0
    for spec in specs:
        offsets.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        end = offsets[-1] + spec.num_bytes
    return offsets, end
