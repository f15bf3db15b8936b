"""Tensors handed to other libraries without a copy, by the DLPack protocol (version 0.x).

Every consumer takes this version: torch, CuPy, JAX, TensorFlow, NumPy (for memory of the host).
https://dmlc.github.io/dlpack/latest/
"""

import ctypes
from typing import Any, Final

import numpy as np

from ckd.contract.tensors import DType

CPU: Final = 1  # kDLCPU
CUDA: Final = 2  # kDLCUDA


def capsule(
    address: int,
    shape: tuple[int, ...],
    dtype: DType,
    device_index: int,
    owner: object,
    device_type: int = CUDA,
) -> Any:
    """A PyCapsule named "dltensor" over memory that stays where it is.

    Args:
        address: of the first element; the tensor is contiguous, the last axis fastest.
        shape: in elements.
        dtype: of the elements.
        device_index: 1 of "cuda:1".
        owner: is kept alive until the consumer drops its tensor, or the capsule goes unconsumed.
        device_type: `CUDA`, or `CPU` for memory of the host.
    """
    # NumPy makes the capsule, of an array that is never read: both of a capsule's ends may come in
    # any thread, in the middle of an exception or after Python's own end, where only C can run.
    array = np.asarray(_Held(address, shape, dtype, owner))
    made = array.__dlpack__()
    tensor = _DLTensor.from_address(_pointer(made, b"dltensor"))
    tensor.device = _DLDevice(device_type, device_index)
    return made


class _Held:
    """What NumPy needs to know of the memory, and keeps for as long as its array."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: DType, owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(dtype).str,
            "data": (address, False),
        }


class _DLDevice(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int), ("device_id", ctypes.c_int))


class _DLTensor(ctypes.Structure):
    """The beginning of DLPack's `DLManagedTensor`."""

    _fields_ = (("data", ctypes.c_void_p), ("device", _DLDevice))


# A function of its own, whose types no other user of `ctypes.pythonapi` changes.
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
