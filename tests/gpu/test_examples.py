"""`runtime/examples`: other libraries' device arrays in and out, against the CPU's answers."""

import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.picture.resize import network_image
from ckd.runtime import Cascade

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("needs_gpu")]

EXAMPLES = Path(__file__).parents[2] / "runtime" / "examples"
BACKENDS = ["tensorrt", "onnxruntime"]
# Twice the tiny bundle's side: averaging 2 by 2 pixels is the same on both sides, to the last bit.
IMAGE_HWC = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch(tiny_bundle: Path, backend: str, torch_cuda: ModuleType) -> None:
    image = torch_cuda.from_numpy(IMAGE_HWC.copy()).to("cuda:0")
    with on_gpu(tiny_bundle, backend) as cascade:
        mask, classes = example("torch_in_out").analyse(cascade, image)
    check(tiny_bundle, mask.cpu().numpy(), classes.cpu().numpy())


@pytest.mark.parametrize("backend", BACKENDS)
def test_cupy(tiny_bundle: Path, backend: str) -> None:
    cupy = pytest.importorskip("cupy")
    image = cupy.asarray(IMAGE_HWC)
    with on_gpu(tiny_bundle, backend) as cascade:
        mask, classes = example("cupy_in_out").analyse(cascade, image)
    check(tiny_bundle, mask.get(), classes.get())


@pytest.mark.parametrize("backend", BACKENDS)
def test_pycuda(tiny_bundle: Path, backend: str) -> None:
    gpuarray = pytest.importorskip("pycuda.gpuarray", exc_type=ImportError)
    module = example("pycuda_in_out")
    with ExitStack() as stack:
        stack.enter_context(module.own_context(is_primary=backend == "onnxruntime"))
        cascade = stack.enter_context(on_gpu(tiny_bundle, backend))
        arrays = module.analyse(cascade, gpuarray.to_gpu(IMAGE_HWC))
        mask, classes = (array.get()[0] for array in arrays)
    check(tiny_bundle, mask[0], classes)


@contextmanager
def on_gpu(bundle: Path, backend: str) -> Iterator[Cascade]:
    try:
        cascade = Cascade.load(bundle, backend=backend, device="cuda:0", precision="fp32")
    except EnvironmentUnusable as error:
        pytest.skip(str(error))
    except EngineError as error:
        if "may not support" not in str(error):
            raise
        pytest.skip(str(error))  # TensorRT-RTX on a data-centre GPU
    with cascade:
        yield cascade


def check(bundle: Path, mask_SS: NDArray[Any], classes_K: NDArray[Any]) -> None:
    with Cascade.load(bundle, backend="onnxruntime", device="cpu", num_threads=1) as cascade:
        outputs = cascade.spec.outputs
        tensors = cascade.chain.run_all(network_image(IMAGE_HWC, cascade.spec.image_size))
    assert outputs.mask_logits is not None
    assert outputs.class_logits is not None
    for logits, expected in (
        (mask_SS, tensors[outputs.mask_logits][0, 0]),
        (classes_K, tensors[outputs.class_logits][0]),
    ):
        # TF32, which both GPU backends may take for FP32, has ten bits of mantissa.
        np.testing.assert_allclose(logits, expected, rtol=0, atol=0.02 * np.abs(expected).max())


def example(name: str) -> ModuleType:
    """By path: examples are no package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
