"""Device arrays of other libraries, taken as they are or refused with one clear error."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda

from ckd.contract.errors import InputError
from ckd.contract.tensors import TensorSpec
from ckd.runtime.cuda.arrays import device_image
from ckd.runtime.cuda.dlpack import tensor_in
from ckd.runtime.cuda.memory import CudaBuffer

ADDRESS = 0x7F00_0000_1000


class Described:
    """An array of PyCUDA or Numba: ``__cuda_array_interface__`` and no DLPack."""

    def __init__(self, **changes: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": (20, 30, 3),
            "typestr": "|u1",
            "data": (ADDRESS, False),
            "strides": None,
            "version": 3,
        } | changes


class Packed:
    """A real capsule, NumPy's, that says it is on a CUDA device."""

    def __init__(self, array: NDArray[Any], kind: int = 2, index: int = 0) -> None:
        self.array, self.device = array, (kind, index)
        self.asked: int | None = None

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int | None = None) -> object:
        self.asked = stream
        return self.array.__dlpack__()


# __cuda_array_interface__


def test_an_array_interface_is_taken() -> None:
    array = Described()
    image = device_image(array)
    assert (image.address, image.height, image.width) == (ADDRESS, 20, 30)
    assert (image.owner, image.stream, image.device_index) == (array, 0, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"strides": (90, 3, 1)},
        {"shape": [20, 30, 3]},
        {"shape": (1, 30, 3), "strides": (7, 3, 1)},  # the step between rows is never taken
        {"data": (ADDRESS, True)},
        {"version": 2},
    ],
)
def test_what_is_contiguous_is_taken(changes: dict[str, Any]) -> None:
    assert device_image(Described(**changes)).width == 30


def test_the_stream_that_an_array_is_made_in_is_kept() -> None:
    assert device_image(Described(stream=None)).stream == 0
    assert device_image(Described(stream=0x55)).stream == 0x55


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"typestr": "<f4"}, r"expected C-contiguous uint8\[H, W, 3\].*float32\[20, 30, 3\]"),
        ({"typestr": "|b1"}, r"got bool\[20, 30, 3\]"),
        ({"shape": (3, 20, 30)}, r"got uint8\[3, 20, 30\]"),
        ({"shape": (20, 30, 4)}, r"got uint8\[20, 30, 4\]"),
        ({"shape": (1, 20, 30, 3)}, r"got uint8\[1, 20, 30, 3\]"),
        ({"shape": (0, 30, 3), "data": (0, False)}, r"got uint8\[0, 30, 3\]"),
        ({"strides": (-90, 3, 1)}, r"strides of \[-90, 3, 1\].*\[90, 3, 1\]; make it contiguous"),
        ({"strides": (128, 3, 1)}, r"strides of \[128, 3, 1\]"),
        ({"strides": (1, 20, 600)}, r"strides of \[1, 20, 600\]"),
        ({"data": (0, False)}, "address is 0"),
        ({"data": (None, False)}, "address is 0"),
        ({"shape": None}, "__cuda_array_interface__ of Described cannot be read"),
        ({"typestr": "what"}, "cannot be read"),
        ({"strides": (3, 1)}, r"strides of \[3, 1\]"),
    ],
)
def test_what_is_no_image_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        device_image(Described(**changes))


# DLPack


def test_dlpack_is_taken_and_asked_to_finish_first() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    packed = Packed(pixels, index=1)
    image = device_image(packed)
    assert (image.address, image.height, image.width) == (pixels.ctypes.data, 20, 30)
    assert (image.stream, image.device_index) == (0, 1)
    assert packed.asked == 1  # CUDA's default stream, in which the image is read


def test_memory_that_cuda_manages_is_on_the_device_too() -> None:
    assert device_image(Packed(np.zeros((20, 30, 3), np.uint8), kind=13)).height == 20


def test_what_a_library_hands_out_lives_as_long_as_the_image() -> None:
    class Copying(Packed):
        def __dlpack__(self, stream: int | None = None) -> object:
            array = self.array.copy()
            self.watched = weakref.ref(array)
            return array.__dlpack__()

    packed = Copying(np.zeros((20, 30, 3), np.uint8))
    image = device_image(packed)
    gc.collect()
    assert packed.watched() is not None
    del image
    gc.collect()
    assert packed.watched() is None


def test_an_array_lives_as_long_as_its_image() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    watched = weakref.ref(pixels)
    image = device_image(Packed(pixels))
    del pixels
    gc.collect()
    assert watched() is not None
    del image
    gc.collect()
    assert watched() is None


def test_an_offset_into_the_memory_is_counted_in() -> None:
    class Offset(Packed):
        def __dlpack__(self, stream: int | None = None) -> object:
            capsule = self.array.__dlpack__()
            tensor = tensor_in(capsule)
            tensor.byte_offset = 90
            return capsule

    pixels = np.zeros((20, 30, 3), np.uint8)
    assert device_image(Offset(pixels)).address == pixels.ctypes.data + 90


def test_dlpack_comes_before_the_array_interface() -> None:
    class Both(Packed, Described):
        def __init__(self) -> None:
            Described.__init__(self)
            Packed.__init__(self, np.zeros((21, 31, 3), np.uint8))

    assert device_image(Both()).width == 31


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 30, 3), np.float32), r"got float32\[20, 30, 3\]"),
        (np.zeros((20, 30, 3), np.int8), r"got int8\[20, 30, 3\]"),
        (np.zeros((20, 30, 3), np.bool_), r"got DLPack type 6\[20, 30, 3\]"),
        (np.zeros((3, 20, 30), np.uint8), r"got uint8\[3, 20, 30\]"),
        (np.zeros((20, 30), np.uint8), r"got uint8\[20, 30\]"),
        (np.zeros((20, 40, 3), np.uint8)[:, :30], r"strides of \[120, 3, 1\]"),
        (np.zeros((20, 30, 3), np.uint8)[..., ::-1], r"strides of \[90, 3, -1\]"),
        (np.zeros((3, 20, 30), np.uint8).transpose(1, 2, 0), r"strides of \[30, 1, 600\]"),
    ],
)
def test_what_is_no_image_in_a_capsule_is_refused(array: NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        device_image(Packed(array))


def test_a_view_inside_an_array_is_read_from_where_it_starts() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    assert device_image(Packed(pixels[5:])).address == pixels.ctypes.data + 5 * 90


def test_host_arrays_are_refused() -> None:
    for host in (np.zeros((20, 30, 3), np.uint8), Packed(np.zeros((20, 30, 3), np.uint8), kind=3)):
        with pytest.raises(InputError, match=r"host memory.*NumPy arrays, or copy it"):
            device_image(host)


def test_a_library_that_refuses_to_hand_out_is_quoted() -> None:
    class Refusing(Packed):
        def __dlpack__(self, stream: int | None = None) -> object:
            raise BufferError("it requires grad")

    with pytest.raises(InputError, match=r"cannot be taken by DLPack \(BufferError: it requires"):
        device_image(Refusing(np.zeros((20, 30, 3), np.uint8)))


def test_a_device_that_dlpack_has_no_number_for_is_refused() -> None:
    torch = pytest.importorskip("torch")
    nowhere = torch.empty((20, 30, 3), dtype=torch.uint8, device="meta")
    with pytest.raises(InputError, match="Tensor cannot be taken by DLPack"):
        device_image(nowhere)


@pytest.mark.parametrize("thing", [None, [[1, 2, 3]], "image.png", 7])
def test_what_is_no_array_is_refused(thing: object) -> None:
    with pytest.raises(InputError, match="expected an array on a CUDA device"):
        device_image(thing)


def test_a_capsule_that_was_used_up_is_refused() -> None:
    class Stale(Packed):
        def __dlpack__(self, stream: int | None = None) -> object:
            return object()

    with pytest.raises(InputError, match="cannot be taken by DLPack"):
        device_image(Stale(np.zeros((20, 30, 3), np.uint8)))


def test_a_buffer_of_ours_is_described_as_others_are() -> None:
    buffer = CudaBuffer(TensorSpec("pixels", (20, 30, 3), "uint8"), RecordingCuda())
    image = device_image(Described(**buffer.__cuda_array_interface__))
    assert (image.address, image.height, image.width) == (buffer.address, 20, 30)
