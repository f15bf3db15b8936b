"""Tensors in device memory, which other libraries on that device can read.

PyCUDA, CuPy, Numba and torch read a `CudaBuffer` without a copy, through
``__cuda_array_interface__`` or DLPack; `ckd.runtime.cuda.arrays` reads their arrays.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.contract.errors import EngineError
from ckd.contract.tensors import TensorSpec
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine import DeviceBuffer

#: CUDA's default stream, which waits for everything that applications put into blocking streams.
DEFAULT_STREAM: Final = 0
#: DLPack's number for memory of a CUDA device.
DLPACK_CUDA: Final = 2


class CudaBuffer(DeviceBuffer):
    """Device memory of one tensor.

    The address never changes. This object owns the memory until `close`, even if others know the
    address. The next run of the cascade overwrites the content. `write` and `read` wait for their
    copy and allocate page-locked memory: they are for checks, not for every frame.

    Raises:
        EngineError: device memory is exhausted.
    """

    def __init__(self, spec: TensorSpec, cuda: Cuda) -> None:
        self.spec = spec
        self._cuda = cuda
        self._address = cuda.allocate(spec.num_bytes)
        self._is_open = True

    @property
    def address(self) -> int:
        """Address of the first element in device memory.

        Raises:
            EngineError: the buffer has been closed.
        """
        if not self._is_open:
            raise EngineError(
                f"{self.spec.name}: its device memory was released when the cascade was closed; "
                "copy what is needed for longer"
            )
        return self._address

    @override
    def write(self, array: NDArray[Any]) -> None:
        self.spec.check(array)
        with self._on_host() as (address, host):
            host[...] = array
            self._copy(self.address, address)

    @override
    def read(self) -> NDArray[Any]:
        with self._on_host() as (address, host):
            self._copy(address, self.address)
            return host.copy()

    @override
    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._cuda.free(self._address)

    @property
    def shape(self) -> tuple[int, ...]:
        """In elements, including the batch axis."""
        return self.spec.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3, without a stream: a cascade's run has finished when it returns."""
        return {
            "shape": self.spec.shape,
            "typestr": np.dtype(self.spec.dtype).str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule that keeps this object alive; any ``stream`` may read it immediately."""
        from ckd.runtime.cuda.dlpack import capsule

        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"{self.spec.name} is handed out where it is, without a copy")
        spec = self.spec
        return capsule(self.address, spec.shape, spec.dtype, self._cuda.index, self)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (DLPACK_CUDA, self._cuda.index)

    @contextmanager
    def _on_host(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Page-locked memory of the tensor's size for one copy: its address, and an array of it."""
        address = self._cuda.allocate_pinned(self.spec.num_bytes)
        try:
            yield address, self._cuda.host_array(address, self.spec.shape, self.spec.dtype)
        finally:
            self._cuda.free_pinned(address)

    def _copy(self, to: int, source: int) -> None:
        self._cuda.copy(to, source, self.spec.num_bytes, DEFAULT_STREAM)
        self._cuda.synchronize(DEFAULT_STREAM)
