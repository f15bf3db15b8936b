"""What the CPU backends share: buffers in host memory, and one engine after another."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.spec import CascadeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.engine import DeviceBuffer, Engine, Outputs


class HostBuffer:
    """A tensor in host memory; a CPU backend adds its own handle over the same array."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.array: NDArray[Any] = np.zeros(spec.shape, spec.dtype)

    def write(self, array: NDArray[Any]) -> None:
        """Copy in; `EngineError` on another shape or type."""
        self.spec.check(array)
        self.array[...] = array

    def read(self) -> NDArray[Any]:
        """The shared memory itself, not a copy."""
        return self.array

    def close(self) -> None:
        """Nothing: the array goes with the last that holds it."""


class HostRunner:
    """One engine after another, each with all cores."""

    def __init__(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> None:
        self._engines, self._image = engines, buffers[IMAGE]
        self._outputs = {name: buffers[name] for name in spec.outputs.names()}

    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Outputs:
        """See `ckd.runtime.engine.Runner`."""
        self._image.write(image)
        lap("preprocess")
        for name in self._each():
            lap(name)
        return {name: buffer.read() for name, buffer in self._outputs.items()}

    def steps(self, image: NDArray[np.uint8]) -> Iterator[str]:
        """See `ckd.runtime.engine.Runner`."""
        self._image.write(image)
        yield from self._each()

    def _each(self) -> Iterator[str]:
        for name, engine in self._engines.items():
            engine.enqueue()
            yield name

    def close(self) -> None:
        """Nothing is its own."""
