"""A whole cascade on the recording device: the answers of the CPU, and nothing left behind.

The engines are ONNX Runtime's on the CPU, so answers must agree to the last bit.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeCudaBackend, Function, Tensors

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, InputError, UsageError
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.finding.finding import Finding
from ckd.runtime import Cascade
from ckd.runtime.cuda.memory import CudaBuffer

COUNT = 5
SEEDS = range(6)  # each runs real networks


@pytest.fixture(scope="module")
def function_of(tiny_bundle: Path) -> Callable[[NodeSpec, Content], Function]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions: dict[str, onnxruntime.InferenceSession] = {}

    def make(node: NodeSpec, onnx: Content) -> Function:
        if node.name not in sessions:
            sessions[node.name] = onnxruntime.InferenceSession(
                onnx.read(), options, providers=["CPUExecutionProvider"]
            )

        def run(given: Tensors) -> Tensors:
            made = sessions[node.name].run(list(node.outputs), given)
            return dict(zip(node.outputs, made, strict=True))

        return run

    return make


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path) -> list[Finding]:
    with Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as cascade:
        return [cascade.predict(image) for image in photos()]


def photos() -> list[NDArray[np.uint8]]:
    """Each of another size."""
    rng = np.random.default_rng(3)
    return [
        np.kron(rng.integers(0, 255, (4, 5, 3)), np.ones((10 + i, 12, 1))).astype(np.uint8)
        for i in range(COUNT)
    ]


def assert_equal(one: Finding, two: Finding) -> None:
    assert (one.probabilities, one.quality) == (two.probabilities, two.quality)
    np.testing.assert_array_equal(one.mask_HW, two.mask_HW)
    np.testing.assert_array_equal(one.coarse_mask_HW, two.coarse_mask_HW)


@pytest.mark.parametrize("seed", SEEDS)
def test_findings_are_those_of_the_cpu(
    seed: int,
    tiny_bundle: Path,
    function_of: Callable[[NodeSpec, Content], Function],
    expected: list[Finding],
) -> None:
    cuda = RecordingCuda(seed)
    with Cascade(Bundle(tiny_bundle), FakeCudaBackend(cuda, function_of), "fp32") as cascade:
        cascade.warmup()
        warm = cuda.num_allocations
        for image, finding in zip(photos(), expected, strict=True):
            given = cascade.predict(image)
            assert_equal(given, finding)
            assert list(given.timings_ms) == ["preprocess", "networks", "postprocess", "total"]
        assert cuda.num_allocations == warm
        assert cascade.chain.measure_ms(runs=3) > 0
    assert cuda.leaks() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_of_images_overlaps_and_gives_the_same(
    seed: int,
    tiny_bundle: Path,
    function_of: Callable[[NodeSpec, Content], Function],
    expected: list[Finding],
) -> None:
    cuda = RecordingCuda(seed)
    taken: list[int] = []

    def source() -> Iterator[NDArray[np.uint8]]:
        for number, image in enumerate(photos()):
            taken.append(number)
            yield image

    with Cascade(Bundle(tiny_bundle), FakeCudaBackend(cuda, function_of), "fp32") as cascade:
        findings = cascade.stream(source())
        assert taken == []
        given = [next(findings)]
        assert taken == [0, 1]
        given.extend(findings)
    for one, other in zip(given, expected, strict=True):
        assert_equal(one, other)
    assert list(given[0].timings_ms) == ["preprocess", "networks", "postprocess", "total"]
    assert min(given[0].timings_ms.values()) > 0
    assert cuda.leaks() == []


def test_a_bad_image_in_a_stream_is_refused_in_its_turn(
    tiny_bundle: Path,
    function_of: Callable[[NodeSpec, Content], Function],
    expected: list[Finding],
) -> None:
    cuda = RecordingCuda()
    bad = [*photos()[:2], np.zeros((4, 4, 3), np.uint8)]
    with Cascade(Bundle(tiny_bundle), FakeCudaBackend(cuda, function_of), "fp32") as cascade:
        findings = cascade.stream(bad)
        assert_equal(next(findings), expected[0])
        assert_equal(next(findings), expected[1])
        with pytest.raises(InputError, match="too small"):
            next(findings)
    assert cuda.leaks() == []


def test_every_tensor_can_be_read(
    tiny_bundle: Path, function_of: Callable[[NodeSpec, Content], Function]
) -> None:
    small = np.full((32, 32, 3), 99, np.uint8)
    backend = FakeCudaBackend(RecordingCuda(), function_of)
    with (
        Cascade(Bundle(tiny_bundle), backend, "fp32") as cascade,
        Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as plain,
    ):
        given, expected = cascade.chain.run_all(small), plain.chain.run_all(small)
    assert set(given) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(given[name], values, err_msg=name)


def test_an_image_on_the_device_gives_logits_there(
    tiny_bundle: Path, function_of: Callable[[NodeSpec, Content], Function]
) -> None:
    cuda = RecordingCuda()
    small = np.full((32, 32, 3), 99, np.uint8)
    given = CudaBuffer(TensorSpec("photograph", small.shape, "uint8"), cuda)
    given.write(small)
    with (
        Cascade(Bundle(tiny_bundle), FakeCudaBackend(cuda, function_of), "fp32") as cascade,
        Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as plain,
    ):
        expected = plain.chain.run_all(small)
        for _ in range(3):
            logits = cascade.run_device(given)
            assert set(logits) == set(cascade.spec.outputs.names())
            for name, buffer in logits.items():
                np.testing.assert_array_equal(buffer.read(), expected[name], err_msg=name)
        before = Counter(cuda.copies)
        assert_equal(cascade.predict(given), plain.predict(small))
        # The logits, and what the networks saw.
        assert (cuda.copies - before)["device to host"] == 2
        assert (cuda.copies - before)["host to device"] == 0
        with pytest.raises(InputError, match="expected an array on a CUDA device"):
            cascade.predict(None)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="runs on the cpu, which takes no device arrays"):
            plain.run_device(given)
    given.close()
    assert cuda.leaks() == []


def test_memory_that_ends_while_loading_leaves_nothing(
    tiny_bundle: Path, function_of: Callable[[NodeSpec, Content], Function]
) -> None:
    bundle, cuda = Bundle(tiny_bundle), RecordingCuda()
    cuda.fail_after = 1000
    with Cascade(bundle, FakeCudaBackend(cuda, function_of), "fp32"):
        needed = 1000 - cuda.fail_after
    assert needed > len(bundle.spec.shapes)
    for number in range(needed):
        cuda = RecordingCuda()
        cuda.fail_after = number
        with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
            Cascade(bundle, FakeCudaBackend(cuda, function_of), "fp32")
        assert cuda.leaks() == [], number


def test_a_destroyed_context_is_one_error_and_closing_still_works(
    tiny_bundle: Path, function_of: Callable[[NodeSpec, Content], Function]
) -> None:
    cuda = RecordingCuda()
    with Cascade(Bundle(tiny_bundle), FakeCudaBackend(cuda, function_of), "fp32") as cascade:
        cascade.predict(photos()[0])
        cuda.destroy_context()
        with pytest.raises(EngineError, match="CONTEXT_IS_DESTROYED"):
            cascade.predict(photos()[0])
    assert cuda.leaks() == []
