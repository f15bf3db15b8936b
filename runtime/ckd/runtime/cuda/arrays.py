"""Images that are on the device already, in an array of PyCUDA, CuPy, Numba, torch or another.

Two protocols are understood. DLPack is tried first, because it makes the owner of the array ensure
that the image is finished when it is read; ``__cuda_array_interface__`` is for all other arrays.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ckd.contract.errors import InputError
from ckd.runtime.cuda.dlpack import DLTensor, tensor_in
from ckd.runtime.cuda.memory import DEFAULT_STREAM

#: DLPack's numbers for memory that kernels can read: of a device, and managed by CUDA.
_ON_DEVICE: Final = (2, 13)
#: DLPack's number for CUDA's default stream; 0 is not allowed, because it is ambiguous.
_DLPACK_DEFAULT_STREAM: Final = 1
_EXPECTED: Final = "expected C-contiguous uint8[H, W, 3] in RGB order"


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """A uint8 RGB image in device memory, [height, width, 3] without gaps.

    Attributes:
        owner: keeps the memory alive.
        stream: the stream that finishes the image; readers wait for it.
        device_index: of the device that the image is on; None if the array does not say.
    """

    address: int
    height: int
    width: int
    owner: object
    stream: int = DEFAULT_STREAM
    device_index: int | None = None


def device_image(array: object) -> DeviceImage:
    """Look at a device array as an image, without a copy.

    Args:
        array: has ``__dlpack__`` and ``__dlpack_device__``, or ``__cuda_array_interface__``.

    Raises:
        InputError: this is no device array, or not uint8[H, W, 3] in C order.
    """
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_dlpack(array)
    if hasattr(array, "__cuda_array_interface__"):
        return _from_cuda_array_interface(array)
    raise InputError(
        f"image: expected an array on a CUDA device (with __dlpack__ or "
        f"__cuda_array_interface__), got {type(array).__name__}"
    )


def _from_cuda_array_interface(array: Any) -> DeviceImage:
    try:
        described = array.__cuda_array_interface__
        shape = tuple(int(size) for size in described["shape"])
        dtype = np.dtype(described["typestr"])
        address = int(described["data"][0] or 0)
        strides = described.get("strides")
        strides = None if strides is None else tuple(int(step) for step in strides)
        stream = int(described.get("stream") or DEFAULT_STREAM)
    except Exception as error:  # a property of another library may raise anything
        raise InputError(
            f"image: the __cuda_array_interface__ of {type(array).__name__} cannot be read "
            f"({type(error).__name__}: {error})"
        ) from error
    _check(shape, str(dtype), strides, address)
    height, width, _ = shape
    return DeviceImage(address, height, width, array, stream)


def _from_dlpack(array: Any) -> DeviceImage:
    with _taking(array):
        kind, index = array.__dlpack_device__()
    if kind not in _ON_DEVICE:
        raise InputError(
            f"image: this {type(array).__name__} is in host memory or on another kind of device "
            f"(DLPack's number {int(kind)}); give host images as NumPy arrays, or copy it to the "
            "CUDA device first"
        )
    with _taking(array):
        capsule = array.__dlpack__(stream=_DLPACK_DEFAULT_STREAM)
        tensor = tensor_in(capsule)
    shape = tuple(tensor.shape[axis] for axis in range(tensor.num_axes))
    strides = None
    if tensor.strides:  # counted in elements, which are bytes, since only uint8 is accepted
        strides = tuple(tensor.strides[axis] for axis in range(tensor.num_axes))
    _check(shape, _dtype_name(tensor), strides, int(tensor.data or 0))
    address = tensor.data + tensor.byte_offset
    height, width, _ = shape
    # The capsule owns the array; it is not consumed, so it releases the array when it is deleted.
    return DeviceImage(address, height, width, capsule, device_index=int(index))


@contextmanager
def _taking(array: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a method of another library may raise anything
        raise InputError(
            f"image: {type(array).__name__} cannot be taken by DLPack "
            f"({type(error).__name__}: {error})"
        ) from error


def _check(shape: Sequence[int], dtype: str, strides_B: Sequence[int] | None, address: int) -> None:
    if dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise InputError(f"image: {_EXPECTED}, got {dtype}{list(shape)}")
    gapless = (shape[1] * 3, 3, 1)
    # The stride of an axis of length 1 is never used, and libraries put any number there.
    if strides_B is not None and any(
        size > 1 and step != expected
        for size, step, expected in zip(shape, strides_B, gapless, strict=True)
    ):
        raise InputError(
            f"image: {_EXPECTED}, got strides of {list(strides_B)} bytes instead of "
            f"{list(gapless)}; make it contiguous first"
        )
    if address == 0:
        raise InputError(
            f"image: its address is 0, so it has no memory; {_EXPECTED} that is not released"
        )


def _dtype_name(tensor: DLTensor) -> str:
    if tensor.dtype_lanes != 1:
        return f"vectors of {tensor.dtype_lanes}"
    kinds = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex"}
    # Other types, such as booleans, have no width in their name.
    kind = kinds.get(tensor.dtype_code)
    return f"{kind}{tensor.dtype_bits}" if kind else f"DLPack type {tensor.dtype_code}"
