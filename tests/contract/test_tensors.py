"""Named tensors: exact shape and type or an error that says both."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import EngineError
from ckd.contract.tensors import DType, TensorSpec


@pytest.mark.parametrize(("dtype", "num_bytes"), [("uint8", 24), ("float16", 48), ("float32", 96)])
def test_a_tensor_knows_its_size_in_memory(dtype: DType, num_bytes: int) -> None:
    spec = TensorSpec("t", (1, 2, 3, 4), dtype)
    assert spec.num_bytes == num_bytes == np.zeros(spec.shape, spec.dtype).nbytes


def test_the_size_of_an_absurd_tensor_does_not_overflow() -> None:
    assert TensorSpec("t", (2**40, 2**40)).num_bytes == 4 * 2**80


def test_it_reads_as_name_type_and_shape() -> None:
    assert str(TensorSpec("gate1", (1, 24, 8, 8))) == "gate1 float32[1, 24, 8, 8]"


def test_equal_specs_are_equal_and_hash_alike() -> None:
    assert TensorSpec("t", (1, 2)) == TensorSpec("t", (1, 2), "float32")
    assert len({TensorSpec("t", (1, 2)), TensorSpec("t", (1, 2)), TensorSpec("u", (1, 2))}) == 2


@pytest.mark.parametrize("shape", [(), (0,), (1, -1), (1, 2.0), (1, "N"), (1, None)])
def test_a_shape_that_is_not_static_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^t: shape .* is not static and positive$"):
        TensorSpec("t", shape)


@pytest.mark.parametrize("dtype", ["float64", "int8", "", None, ["float32"]])
def test_an_unknown_type_is_refused(dtype: DType) -> None:
    with pytest.raises(ValueError, match="is none of uint8, float32, float16"):
        TensorSpec("t", (1,), dtype)


def test_a_fitting_array_passes() -> None:
    TensorSpec("t", (1, 2), "float16").check(np.zeros((1, 2), np.float16))


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((1, 2), np.float64), r"float64\[1, 2\]"),
        (np.zeros((2, 1), np.float32), r"float32\[2, 1\]"),
        (np.zeros(2, np.float32), r"float32\[2\]"),
        (np.zeros((1, 2, 1), np.float32), r"float32\[1, 2, 1\]"),
        (np.zeros((1, 2), ">f4"), r">f4\[1, 2\]"),
    ],
)
def test_another_array_is_refused_with_both_shapes(array: NDArray[Any], got: str) -> None:
    with pytest.raises(EngineError, match=rf"^t: expected float32\[1, 2\], got {got}$"):
        TensorSpec("t", (1, 2)).check(array)
