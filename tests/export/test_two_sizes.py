"""A cascade whose classifier sees a larger image than its segmentation networks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from PIL import Image
from typer.testing import CliRunner

from ckd.calibration.placement import quantised_layers
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.data.synthetic.write import dermoscopy
from ckd.export.bundle import write_bundle
from ckd.finding.answers import answers_from_logits
from ckd.picture.resize import network_image
from ckd.runtime.cli import cli
from ckd.train.folds import folded
from ckd.train.folds.aspp import FoldedAspp
from ckd.train.networks.image_input import Shrink
from ckd.train.networks.rootseg import RootSeg
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import deployed


@pytest.fixture(scope="module")
def system(make_tiny_system: Callable[..., System]) -> System:
    return deployed(make_tiny_system(96, segment_px=64))


@pytest.fixture(scope="module")
def bundle(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written only if ONNX Runtime computes what PyTorch does."""
    out = tmp_path_factory.mktemp("two-sizes") / "bundle"
    report = write_bundle(system, out, name="two-sizes", provenance={"data": "none"})
    assert max(tensor.relative for tensor in report.parity["fp32"]) < 1e-4
    return out


def test_each_tensor_has_the_size_of_the_network_that_computes_it(bundle: Path) -> None:
    spec = Bundle(bundle).spec
    assert spec.image_size == 96
    sides = {name: shape[-1] for name, shape in spec.shapes.items() if len(shape) == 4}
    assert [sides[name] for name in ("mask_logits", "coarse_logits", "g0")] == [64, 16, 32]
    assert [sides[f"gate{level}"] for level in (1, 2, 3, 4)] == [16, 8, 4, 2]
    assert [sides[f"mean{level}"] for level in (1, 2, 3, 4)] == [24, 12, 6, 3]


def test_the_command_gives_the_mask_that_pytorch_computes(
    bundle: Path, system: System, tmp_path: Path
) -> None:
    photo_HWC = dermoscopy(3, 150).image_HWC[:, :120]
    Image.fromarray(photo_HWC).save(tmp_path / "photo.png")
    words = ["image", str(tmp_path / "photo.png"), "--bundle", str(bundle), "--json"]
    words += ["--backend", "onnxruntime", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.splitlines()[0])
    mask_HW = np.asarray(Image.open(tmp_path / "out" / record["mask"])) > 0
    with torch.no_grad():
        tensors = system(torch.from_numpy(network_image(photo_HWC, 96).copy())[None])
    logits = {name: tensors[name].numpy() for name in system.outputs.names()}
    expected = answers_from_logits(system, logits, 150, 120)
    assert expected.mask_HW is not None
    assert mask_HW.shape == expected.mask_HW.shape == (150, 120)
    assert 0.1 < expected.mask_HW.mean() < 0.9
    assert confusion_from_masks(mask_HW, expected.mask_HW).jaccard > 0.99
    assert record["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


def test_a_layer_that_reads_the_resized_image_is_left_in_float(bundle: Path) -> None:
    opened = Bundle(bundle)
    for name in ("rootseg", "seg_encoder"):
        model = onnx.load_from_string(opened.read(opened.spec.node(name).files["fp32"]))
        first = next(node for node in model.graph.node if node.op_type == "Conv")
        assert "MatMul" in [node.op_type for node in model.graph.node]  # or it would not be resized
        assert first.name not in quantised_layers(model, {*opened.spec.outputs.names()})


def test_atrous_branches_are_folded_for_the_map_that_they_get(
    make_tiny_system: Callable[..., System],
) -> None:
    system = make_tiny_system(32)
    system.image_size = 512  # a map of 16 px
    rootseg = system.networks["rootseg"]
    assert isinstance(rootseg, RootSeg)
    rootseg.shrink = Shrink(512, 352)  # but the branches get 11 px, less than rates 12 and 18
    aspp = folded(system).networks.get_submodule("rootseg.aspp.0")
    assert isinstance(aspp, FoldedAspp)
    assert len(aspp.atrous) == 1
