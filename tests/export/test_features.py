"""What the classifier's last layer reads: an output of every bundle of a trained system."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from ckd.calibration.placement import quantised_layers
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.contract.hashes import write_hashes
from ckd.export.parity import expected_tensors, parity_images
from ckd.export.verify import verify_bundle
from ckd.finding.answers import answers_from_logits
from ckd.runtime import Cascade
from ckd.runtime.cases import CASES, pack_cases
from ckd.train.folds import folded
from ckd.train.folds.attention import PooledAttention
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System


@pytest.fixture
def system(make_tiny_system: Callable[[], System]) -> System:
    return make_tiny_system()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_runtime_gives_the_features_that_pytorch_computes(
    explained_bundle: Path, system: System, precision: str
) -> None:
    system.image_size = 64  # as in the bundle
    images = parity_images(64, 3)
    with torch.no_grad():
        expected_ND = rewrite.deployed(system)(torch.from_numpy(images))["features"].numpy()
    assert expected_ND.std(axis=0).max() > 0.01  # or one image's would pass for another's
    with Cascade.load(explained_bundle, "onnxruntime", "cpu", precision) as cascade:
        assert cascade.spec.outputs.features == "features"
        assert cascade.spec.shapes["features"] == expected_ND[:1].shape == (1, 8)
        answers = [
            answers_from_logits(cascade.spec, cascade.chain.run(image), 64, 64) for image in images
        ]
        assert "features" not in cascade.predict(images[0]).as_dict()
    tolerance = {"fp32": 1e-4, "fp16": 2e-2}[precision]  # float16 keeps 11 bits
    got_ND = np.array([answer.features_D for answer in answers])  # none is written over
    assert got_ND.dtype == np.float32
    np.testing.assert_allclose(got_ND, expected_ND, atol=tolerance * np.abs(expected_ND).max())


def test_a_bundle_without_features_says_so_and_works(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle) as cascade:
        image = parity_images(32, 1)[0]
        answers = answers_from_logits(cascade.spec, cascade.chain.run(image), 32, 32)
        assert cascade.spec.outputs.features is None
    assert answers.features_D is None
    assert len(answers.probabilities) == 3


def test_folds_keep_the_features(system: System) -> None:
    deployed = rewrite.deployed(system)
    exported = folded(deployed)
    assert any(isinstance(part, PooledAttention) for part in exported.modules())
    images = parity_images(32, 2)
    expected = expected_tensors(deployed, exported, images)["features"]
    with torch.no_grad():
        got = exported(torch.from_numpy(images))["features"].numpy()
    assert expected.any()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_an_engine_that_gives_other_features_is_refused(
    explained_bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(explained_bundle, tmp_path / "bundle"))
    with np.load(folder / CASES) as archive:
        cases = {name: archive[name] for name in archive.files}
    cases["features"] = cases["features"][:, ::-1]
    (folder / CASES).write_bytes(pack_cases(cases.pop("images"), cases))
    write_hashes(folder)
    with pytest.raises(GateFailed, match="4 of 4 acceptance cases failed"):
        verify_bundle(folder)


def test_features_keep_no_layer_in_float(explained_bundle: Path) -> None:
    bundle = Bundle(explained_bundle)
    answers = {*bundle.spec.outputs.names()}
    model = onnx.load_from_string(bundle.read(bundle.spec.node("cls").files["fp32"]))
    layers = quantised_layers(model, answers)
    assert layers == quantised_layers(model, answers - {"features"})
    # The encoder's last convolution is among them: only pooling stands between it and the features.
    assert any(n.name in layers and "stages.3" in n.input[1] for n in model.graph.node)
