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
    tensor = tensor_in(made)
    tensor.device_kind, tensor.device_index = device_type, device_index
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


class DLTensor(ctypes.Structure):
    """DLPack's DLTensor, with which its DLManagedTensor begins: where a tensor lies, and what."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_kind", ctypes.c_int32),
        ("device_index", ctypes.c_int32),
        ("num_axes", ctypes.c_int32),
        ("dtype_code", ctypes.c_uint8),
        ("dtype_bits", ctypes.c_uint8),
        ("dtype_lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


# A prototype of its own: setting types on `ctypes.pythonapi` would set them for everyone.
_pointer_in: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def tensor_in(capsule: object) -> Any:
    """A view of the `DLTensor` in a capsule of DLPack before 1.0, one that nobody has consumed."""
    return DLTensor.from_address(_pointer_in(capsule, b"dltensor"))
