"""Archives of arrays: what they hold is read, and nothing that only pretends to be there."""

import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest

from ckd.contract.arrays import read_arrays

ARRAYS: dict[str, Any] = {
    "a": np.arange(6, dtype=np.float16).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "empty": np.zeros((0, 4), np.float32),
    "text": np.array("words"),
    "flags": np.array([True, False]),
}


def packed(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def with_raw(name: str, raw: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, raw)
    return content.getvalue()


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_arrays_are_read_as_they_were_written() -> None:
    read = read_arrays(packed(**ARRAYS), None, 1 << 20)
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    assert set(read_arrays(packed(**ARRAYS), ["a"], 1 << 20)) == {"a"}


def test_a_bomb_is_not_unpacked() -> None:
    bomb = packed(zeros=np.zeros(1 << 28, np.uint8))
    assert len(bomb) < 1 << 19
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 1 MiB"):
        read_arrays(bomb, ["zeros"], 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (header("(1000000000000,)"), "not as long as it says"),
        (header("(2,)") + bytes(4), "not as long as it says"),
        (header("(2,)") + bytes(12), "not as long as it says"),
        (header("(-2,)") + bytes(8), "not as long as it says|shape"),
        (header("()", "|O") + bytes(8), "objects"),
        (b"\x93NUMPY\x09\x00" + bytes(80), "version"),
        (b"PK", "magic|Magic"),
        (b"", "magic|Magic"),
    ],
)
def test_what_is_not_there_is_refused_without_memory_for_it(raw: bytes, told: str) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=told):
        read_arrays(with_raw("x.npy", raw), ["x"], 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_missing_array_is_named() -> None:
    with pytest.raises(ValueError, match="b is missing"):
        read_arrays(packed(a=np.zeros(1)), ["b"], 1 << 20)
