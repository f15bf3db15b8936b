"""ONNX Runtime on a real CUDA device: the embedded bundle answers there as on the CPU."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.signed import embedded_bundle

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.gpu

OnCuda = Callable[[str], Cascade]


@pytest.fixture(autouse=True)
def needs_gpu_build(needs_gpu: None) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime was built without CUDA (onnxruntime-gpu is another package)")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle(embedded_bundle())


@pytest.fixture
def on_cuda(cuda: Cuda, bundle: Bundle) -> Iterator[OnCuda]:
    from ckd.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

    with ExitStack() as stack:
        yield lambda precision: stack.enter_context(
            Cascade(bundle, OnnxRuntimeCudaBackend(cuda), precision)
        )


def images(count: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_golden_cases_are_answered_as_recorded(
    on_cuda: OnCuda, bundle: Bundle, precision: str
) -> None:
    cascade = on_cuda(precision)
    assert all(case.passed for case in run_acceptance(cascade.chain, bundle))


# Half precision keeps 11 bits, and a hundred layers round one after another.
@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-3), ("fp16", 0.1)])
def test_every_tensor_is_that_of_the_cpu(
    on_cuda: OnCuda, bundle: Bundle, precision: str, error: float
) -> None:
    cascade = on_cuda(precision)
    with Cascade(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as reference:
        for image in images(3, bundle.spec.image_size):
            expected, given = reference.chain.run_all(image), cascade.chain.run_all(image)
            for name, tensor in expected.items():
                largest = max(float(np.abs(tensor).max()), 1e-3)
                np.testing.assert_allclose(
                    given[name].astype(np.float32), tensor.astype(np.float32),
                    rtol=0, atol=error * largest, err_msg=name,
                )  # fmt: skip


def test_steps_give_what_a_frame_gives(on_cuda: OnCuda, bundle: Bundle) -> None:
    chain = on_cuda("fp32").chain
    (image,) = images(1, bundle.spec.image_size)
    expected = chain.run_all(image)
    names = []
    for name in chain.steps(image):
        names.append(name)
        for output in bundle.spec.node(name).outputs:
            largest = max(float(np.abs(expected[output]).max()), 1e-3)
            # cuDNN may choose another algorithm for a layer, which sums in another order.
            np.testing.assert_allclose(
                chain.buffers[output].read(), expected[output], rtol=0, atol=2e-3 * largest
            )
    assert names == [node.name for node in bundle.spec.nodes]


def test_a_warm_cascade_allocates_nothing(on_cuda: OnCuda, cuda: Cuda) -> None:
    cascade = on_cuda("fp32")
    cascade.warmup(5)
    free_bytes = cuda.free_bytes()
    for image in images(20, 480):
        cascade.predict(image)
    assert cuda.free_bytes() >= free_bytes


def test_two_cascades_do_not_disturb_one_another(on_cuda: OnCuda) -> None:
    one, other = on_cuda("fp32"), on_cuda("fp32")
    first, second = images(2, 480)
    alone = one.predict(first).probabilities, other.predict(second).probabilities
    for _ in range(5):
        together = one.predict(first).probabilities, other.predict(second).probabilities
        # cuDNN may choose another algorithm for a layer, which sums in another order.
        for expected, given in zip(alone, together, strict=True):
            assert given == pytest.approx(expected, abs=1e-3)


def test_a_stream_that_is_not_its_own_is_refused(on_cuda: OnCuda, cuda: Cuda) -> None:
    cascade = on_cuda("fp32")
    stream = cuda.create_stream()
    try:
        with pytest.raises(EngineError, match="works on stream"):
            next(iter(cascade.chain.engines.values())).enqueue(stream)
    finally:
        cuda.destroy_stream(stream)
