"""DLPack capsules on memory of the host, taken by the libraries that take those of a GPU."""

import ctypes
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.tensors import DType
from ckd.runtime.cuda import dlpack


class Owner:
    """Host memory that says by its end that nobody holds it any more."""

    def __init__(self, array: NDArray[Any], dtype: DType) -> None:
        self.array, self.dtype = np.ascontiguousarray(array, dtype), dtype

    def __dlpack__(self, **how: object) -> Any:
        shape = self.array.shape
        return dlpack.capsule(self.array.ctypes.data, shape, self.dtype, 0, self, dlpack.CPU)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CPU, 0


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (1, 1, 7, 1)])
def test_numpy_reads_the_same_memory(dtype: DType, shape: tuple[int, ...]) -> None:
    owner = Owner(np.arange(np.prod(shape)).reshape(shape), dtype)
    taken = np.from_dlpack(owner)
    np.testing.assert_array_equal(taken, owner.array)
    assert taken.dtype == dtype
    assert taken.ctypes.data == owner.array.ctypes.data


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_torch_writes_the_same_memory(dtype: DType) -> None:
    torch = pytest.importorskip("torch")
    owner = Owner(np.zeros((2, 3)), dtype)
    taken = torch.from_dlpack(owner)
    taken[1, 2] = 7
    assert owner.array[1, 2] == 7
    assert str(taken.dtype) == f"torch.{dtype}"
    assert taken.is_contiguous()


def test_the_owner_lives_as_long_as_what_was_made_of_it() -> None:
    owner = Owner(np.arange(6), "float32")
    gone = weakref.ref(owner)
    taken = np.from_dlpack(owner)
    part = taken[2:4]
    del owner, taken
    gc.collect()
    assert gone() is not None
    np.testing.assert_array_equal(part, [2, 3])
    del part
    gc.collect()
    assert gone() is None


def test_a_tensor_may_be_dropped_by_another_thread() -> None:
    torch = pytest.importorskip("torch")
    owner = Owner(np.arange(6), "float32")
    gone = weakref.ref(owner)
    held = [torch.from_dlpack(owner)]
    del owner
    dropping = threading.Thread(target=held.clear)
    dropping.start()
    dropping.join()
    gc.collect()
    assert gone() is None


def test_a_capsule_that_nobody_consumes_lets_its_owner_go() -> None:
    owner = Owner(np.arange(6), "float32")
    gone = weakref.ref(owner)
    unconsumed = owner.__dlpack__()
    del owner
    gc.collect()
    assert gone() is not None
    del unconsumed
    gc.collect()
    assert gone() is None


def test_an_exception_passes_an_unconsumed_capsule() -> None:
    owner = Owner(np.arange(6), "float32")
    gone = weakref.ref(owner)
    with pytest.raises(ZeroDivisionError):
        print(owner.__dlpack__(), 1 / 0)
    del owner
    gc.collect()
    assert gone() is None


class DLTensor(ctypes.Structure):
    """As in dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def test_the_capsule_describes_memory_of_a_gpu_that_it_never_reads() -> None:
    capsule = dlpack.capsule(0x7F00_0000_0000, (2, 3), "float16", 3, None)
    tensor = DLTensor.from_address(ctypes.addressof(dlpack.tensor_in(capsule)))
    assert (tensor.data, tensor.byte_offset) == (0x7F00_0000_0000, 0)
    assert (tensor.device_type, tensor.device_id) == (2, 3)
    assert (tensor.code, tensor.bits, tensor.lanes) == (2, 16, 1)
    assert tensor.shape[: tensor.ndim] == [2, 3]
    assert not tensor.strides or tensor.strides[: tensor.ndim] == [3, 1]


def test_a_tensor_that_outlives_the_program_does_not_crash_it() -> None:
    code = """
import numpy as np
from ckd.runtime.cuda import dlpack

class Owner:
    def __init__(self):
        self.array = np.zeros(4, "float32")
    def __dlpack__(self, **how):
        return dlpack.capsule(self.array.ctypes.data, (4,), "float32", 0, self, dlpack.CPU)
    def __dlpack_device__(self):
        return dlpack.CPU, 0

taken, unconsumed = np.from_dlpack(Owner()), Owner().__dlpack__()
circle = [taken, unconsumed]
circle.append(circle)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
