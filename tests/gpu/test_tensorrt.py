"""TensorRT on a GPU, with the embedded bundle."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.runtime.fetching import fetch

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.backends.tensorrt.sdk import has_tensorrt
from ckd.runtime.cascade import Cascade
from ckd.runtime.certificate import certificates
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.presence import why_no_gpu
from ckd.runtime.cuda.runner import CudaRunner
from ckd.runtime.engine import BuiltEngine
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.signed import embedded_bundle

WHY_NOT = why_no_gpu() if has_tensorrt() else "TensorRT is not installed"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def cascade(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cascade]:
    """The embedded bundle on engines that were just built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CKD_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            loaded = Cascade.load(backend="tensorrt", precision=request.param)
        except EngineError as error:
            if "may not support" not in str(error):
                raise
            pytest.skip(str(error))  # TensorRT-RTX on a data-centre GPU
        with loaded:
            yield loaded


def test_engines_that_were_built_have_passed(cascade: Cascade) -> None:
    (certificate,) = certificates(Bundle(embedded_bundle()))
    assert certificate.passed
    assert certificate.precision == cascade.precision
    for name, engine in cascade.chain.engines.items():
        assert isinstance(engine, BuiltEngine)
        assert certificate.engines[name] == engine.sha256
    assert set(certificate.engines) == set(cascade.chain.engines)
    assert len(EngineCache().entries()) == len(cascade.chain.engines)


def test_they_go_on_answering_as_recorded(cascade: Cascade) -> None:
    bundle = Bundle(embedded_bundle())
    cascade.warmup(3)
    for _ in range(3):
        assert all(case.passed for case in run_acceptance(cascade.chain, bundle))


def test_a_frame_becomes_one_graph(cascade: Cascade) -> None:
    cascade.warmup(3)
    runner = cascade.chain.runner
    assert isinstance(runner, CudaRunner)
    assert runner.is_captured


def test_steps_give_what_a_frame_gives(cascade: Cascade) -> None:
    cascade.warmup(3)  # frames are replayed by now
    side = cascade.spec.image_size
    image = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
    expected = cascade.chain.run_all(image)
    cascade.warmup(1)  # other content in every buffer
    names = []
    for name in cascade.chain.steps(image):
        names.append(name)
        for output in cascade.spec.node(name).outputs:
            tensor = cascade.chain.buffers[output].read()
            largest = max(float(np.abs(expected[output]).max()), 1e-3)
            np.testing.assert_allclose(tensor, expected[output], rtol=0, atol=5e-3 * largest)
    assert names == [node.name for node in cascade.spec.nodes]


def test_a_warm_cascade_allocates_nothing(cascade: Cascade, cuda: Cuda) -> None:
    cascade.warmup(5)
    free_bytes = cuda.free_bytes()
    for image in np.random.default_rng(2).integers(0, 256, (20, 300, 400, 3), np.uint8):
        cascade.predict(image)
    assert cuda.free_bytes() >= free_bytes


def test_frames_that_overlap_give_the_same_findings(cascade: Cascade) -> None:
    lots = np.random.default_rng(1)
    images = [lots.integers(0, 256, (200 + i, 300, 3), np.uint8) for i in range(7)]
    given = [finding.probabilities for finding in cascade.stream(images)]
    expected = [cascade.predict(image).probabilities for image in images]
    for one, other in zip(given, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_they_are_loaded_again_without_a_build(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ckd.runtime.backends.tensorrt.kept.build_engine", lambda *_: pytest.fail("was built")
    )
    with Cascade.load(backend="tensorrt", precision=cascade.precision) as again:
        image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
        expected = cascade.predict(image).probabilities
        # The same engine; TensorRT-RTX may finish it with other kernels.
        assert again.predict(image).probabilities == pytest.approx(expected, abs=0.01)


def test_an_engine_of_other_content_is_built_again(cascade: Cascade) -> None:
    cache = EngineCache()
    entry = next(e for e in cache.entries() if e.key["network"] == "rootseg")
    cache.drop(entry.key)
    fetch(cache, entry.key, lambda: b"an engine of another TensorRT")
    with Cascade.load(backend="tensorrt", precision=cascade.precision) as again:
        again.warmup()
    assert entry.path.stat().st_size > 1000
