"""Device buffers: what goes in comes out, others see where it is, and it is released once."""

import sys
from types import ModuleType

import numpy as np
import pytest
from tests.runtime.cuda.fake import SEEDS, RecordingCuda

from ckd.contract.errors import EngineError
from ckd.contract.tensors import DType, TensorSpec
from ckd.runtime.cuda.memory import CudaBuffer

SPEC = TensorSpec("mask_logits", (1, 1, 3, 5), "float16")


@pytest.fixture
def plain_capsules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a capsule, what it would be made of."""
    module = ModuleType("dlpack")
    module.capsule = lambda *given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ckd.runtime.cuda.dlpack", module)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_written_is_read(seed: int, dtype: DType) -> None:
    cuda = RecordingCuda(seed)
    buffer = CudaBuffer(TensorSpec("x", (2, 3), dtype), cuda)
    values = np.arange(6).reshape(2, 3).astype(dtype)
    buffer.write(values[:, ::-1])  # any layout
    np.testing.assert_array_equal(buffer.read(), values[:, ::-1])
    buffer.write(values)
    np.testing.assert_array_equal(buffer.read(), values)
    assert len(cuda.leaks()) == 1  # the buffer's own memory


def test_what_was_read_is_the_readers_own() -> None:
    buffer = CudaBuffer(SPEC, RecordingCuda())
    buffer.write(np.ones(SPEC.shape, np.float16))
    read = buffer.read()
    buffer.write(np.zeros(SPEC.shape, np.float16))
    buffer.close()
    assert (read == 1).all()


def test_another_shape_or_type_is_refused() -> None:
    buffer = CudaBuffer(SPEC, RecordingCuda())
    for wrong in (np.ones((3, 5), np.float16), np.ones(SPEC.shape, np.float32)):
        with pytest.raises(EngineError, match=r"mask_logits: expected float16\[1, 1, 3, 5\]"):
            buffer.write(wrong)


def test_a_copy_that_fails_keeps_no_host_memory() -> None:
    cuda = RecordingCuda()
    buffer = CudaBuffer(SPEC, cuda)
    cuda.free(buffer.address)
    for use in (buffer.read, lambda: buffer.write(np.ones(SPEC.shape, np.float16))):
        with pytest.raises(EngineError, match="released"):
            use()
    assert cuda.leaks() == []


def test_the_array_interface_says_where_and_what() -> None:
    buffer = CudaBuffer(SPEC, RecordingCuda())
    assert buffer.__cuda_array_interface__ == {
        "shape": (1, 1, 3, 5),
        "typestr": "<f2",
        "data": (buffer.address, False),
        "strides": None,
        "stream": None,
        "version": 3,
    }
    pixels = CudaBuffer(TensorSpec("image", (1, 2, 2, 3), "uint8"), RecordingCuda())
    assert pixels.__cuda_array_interface__["typestr"] == "|u1"


def test_dlpack_gets_the_same_and_keeps_the_buffer(plain_capsules: None) -> None:
    buffer = CudaBuffer(SPEC, RecordingCuda(index=1))
    assert buffer.__dlpack_device__() == (2, 1)
    expected = (buffer.address, (1, 1, 3, 5), "float16", 1, buffer)
    assert buffer.__dlpack__() == expected
    assert buffer.__dlpack__(stream=2, max_version=(1, 0), dl_device=(2, 1)) == expected
    with pytest.raises(BufferError, match="without a copy"):
        buffer.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="where it is"):
        buffer.__dlpack__(dl_device=(1, 0))


def test_the_address_never_changes_and_ends_with_the_memory(plain_capsules: None) -> None:
    cuda = RecordingCuda()
    buffer = CudaBuffer(SPEC, cuda)
    address = buffer.address
    for value in range(3):
        buffer.write(np.full(SPEC.shape, value, np.float16))
        buffer.read()
        assert buffer.address == address
    buffer.close()
    buffer.close()
    assert cuda.leaks() == []
    for use in (
        lambda: buffer.address,
        lambda: buffer.__cuda_array_interface__,
        buffer.__dlpack__,
        buffer.read,
    ):
        with pytest.raises(EngineError, match="mask_logits: its device memory was released"):
            use()


def test_exhausted_memory_is_an_error() -> None:
    cuda = RecordingCuda()
    cuda.fail_after = 0
    with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
        CudaBuffer(SPEC, cuda)


def test_closing_after_the_context_has_gone_is_fine() -> None:
    cuda = RecordingCuda()
    buffer = CudaBuffer(SPEC, cuda)
    cuda.destroy_context()
    with pytest.raises(EngineError, match="DESTROYED"):
        buffer.read()
    buffer.close()
    assert cuda.leaks() == []
