"""Tensors shared with other libraries without a copy, by the DLPack protocol (version 0.x).

Every consumer accepts this version: torch, CuPy, JAX, TensorFlow, NumPy (for host memory).
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
    """A PyCapsule named "dltensor" over existing memory.

    Args:
        address: of the first element; the tensor is contiguous, the last axis fastest.
        shape: in elements.
        dtype: of the elements.
        device_index: 1 of "cuda:1".
        owner: is kept alive until the consumer deletes its tensor, or the unconsumed capsule goes.
        device_type: `CUDA`, or `CPU` for host memory.
    """
    # NumPy makes the capsule, from an array that is never read. A capsule may be deleted in any
    # thread, during an exception or after the interpreter's end, where only C code can run.
    array = np.asarray(_Memory(address, shape, dtype, owner))
    shared = array.__dlpack__()
    tensor = tensor_in(shared)
    tensor.device_kind, tensor.device_index = device_type, device_index
    return shared


class _Memory:
    """Describes the memory to NumPy, which keeps this object alive as long as its array."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: DType, owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(dtype).str,
            "data": (address, False),
        }


class DLTensor(ctypes.Structure):
    """DLPack's DLTensor, the first member of its DLManagedTensor: address, shape and type."""

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


# A separate prototype: types that are set on `ctypes.pythonapi` would apply to all its users.
_pointer_in: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def tensor_in(capsule: object) -> Any:
    """A view of the `DLTensor` in an unconsumed capsule of DLPack before 1.0."""
    return DLTensor.from_address(_pointer_in(capsule, b"dltensor"))
