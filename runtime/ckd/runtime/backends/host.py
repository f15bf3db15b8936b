"""What the CPU backends share: buffers in host memory, and a runner of one engine after another."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.contract.spec import CascadeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.engine import DeviceBuffer, Engine, Outputs, Runner


class HostBuffer(DeviceBuffer):
    """A tensor in host memory; a CPU backend adds its own handle over the same array.

    `read` gives the array itself, not a copy, and `close` does nothing: the array is freed with the
    last reference to it.
    """

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.array: NDArray[Any] = np.zeros(spec.shape, spec.dtype)

    @override
    def write(self, array: NDArray[Any]) -> None:
        self.spec.check(array)
        self.array[...] = array

    @override
    def read(self) -> NDArray[Any]:
        return self.array

    @override
    def close(self) -> None:
        pass


class HostRunner(Runner):
    """One engine after another, each with all cores."""

    def __init__(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> None:
        self._engines, self._image = engines, buffers[IMAGE]
        self._outputs = {name: buffers[name] for name in spec.outputs.names()}

    @override
    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Outputs:
        self._image.write(image)
        lap("preprocess")
        for name in self._each():
            lap(name)
        return {name: buffer.read() for name, buffer in self._outputs.items()}

    @override
    def steps(self, image: NDArray[np.uint8]) -> Iterator[str]:
        self._image.write(image)
        yield from self._each()

    def _each(self) -> Iterator[str]:
        for name, engine in self._engines.items():
            engine.enqueue()
            yield name

    @override
    def close(self) -> None:
        pass
