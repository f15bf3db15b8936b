"""What needs a GPU skips without one, and says why there is none."""

import warnings
from collections.abc import Iterator
from types import ModuleType

import pytest

from ckd.runtime.cuda.bindings import CudaBindings, open_cuda
from ckd.runtime.cuda.presence import why_no_gpu


@pytest.fixture(scope="session")
def needs_gpu() -> None:
    """For every test here."""
    if why := why_no_gpu():
        pytest.skip(why)


@pytest.fixture
def cuda(needs_gpu: None) -> CudaBindings:
    """The first device, in its primary context."""
    return open_cuda("cuda:0")


@pytest.fixture
def stream(cuda: CudaBindings) -> Iterator[int]:
    """A stream, empty at the end of the test."""
    made = cuda.create_stream()
    yield made
    cuda.synchronize(made)
    cuda.destroy_stream(made)


@pytest.fixture
def torch_cuda(needs_gpu: None) -> ModuleType:
    """Torch that finds the device."""
    torch: ModuleType = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a driver that is too old for it
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device: built without CUDA, or for another driver")
    return torch
