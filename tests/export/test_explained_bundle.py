"""Bundles that say what speaks for a label: exported, proved, quantised, run."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnxruntime as ort
from exact import int8_cases
from PIL import Image

from ckd.benchmarks.peers import open_peer
from ckd.benchmarks.subjects import export_fused
from ckd.calibration import int8_bundle
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.contract.hashes import write_hashes
from ckd.data.synthetic.write import dermoscopy
from ckd.export.parity import parity_images
from ckd.export.verify import verify_bundle
from ckd.picture.resize import network_image
from ckd.runtime import Cascade
from ckd.runtime.cases import CASES, CASES_INT8, pack_cases
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def system(make_tiny_system: Callable[[], System]) -> System:
    made = make_tiny_system()
    made.image_size = 64  # as in the bundle
    return made


def photographs() -> "NDArray[np.uint8]":
    return np.stack([dermoscopy(seed, 60).image_HWC for seed in range(3)])


def test_the_map_of_the_onnx_file_adds_up_to_the_logits(
    explained_bundle: Path, system: System
) -> None:
    bundle = Bundle(explained_bundle)
    spec = bundle.spec
    assert spec.outputs.class_map == "class_map"
    assert spec.shapes["class_map"] == (1, 3, 2, 2)
    (cls,) = (node for node in spec.nodes if "class_map" in node.outputs)
    held = onnx.load_from_string(bundle.read(cls.files["fp32"]))
    bias_K = next(
        onnx.numpy_helper.to_array(i)
        for i in held.graph.initializer
        if i.name.endswith("classify.fc.bias")
    )
    session = ort.InferenceSession(bundle.read(cls.files["fp32"]))
    assert np.prod(spec.shapes["class_map"][2:]) > 1  # or the mean would be of nothing
    rng = np.random.default_rng(0)
    feeds = {
        i.name: rng.integers(0, 256, i.shape, np.uint8)
        if i.type == "tensor(uint8)"
        else rng.normal(size=i.shape).astype(np.float32)
        for i in session.get_inputs()
    }
    logits_1K, map_1Khw = session.run(["logits", "class_map"], feeds)
    # float32: eight products in another order
    np.testing.assert_allclose(map_1Khw.mean(axis=(2, 3)) + bias_K, logits_1K, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_findings_carry_the_maps_that_pytorch_computes(
    explained_bundle: Path, system: System, precision: str
) -> None:
    images = photographs()
    small = np.stack([network_image(image, system.image_size) for image in images])
    with torch.no_grad():
        expected = rewrite.explained(system)(torch.from_numpy(small))["class_map"].numpy()
    with Cascade.load(explained_bundle, "onnxruntime", "cpu", precision) as cascade:
        findings = [cascade.predict(image) for image in images]
    got = np.array([[f.class_maps[label] for label in system.labels] for f in findings])
    assert got.dtype == np.float32
    tolerance = {"fp32": 1e-4, "fp16": 2e-2}[precision]  # float16 keeps 11 bits
    np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())
    assert verify_bundle(explained_bundle)["cases"].keys() == {"fp32", "fp16"}


def test_the_model_card_tells_of_the_maps(explained_bundle: Path, tiny_bundle: Path) -> None:
    assert (
        "class activation maps of 2 x 2 places" in (explained_bundle / "model_card.md").read_text()
    )
    assert "activation map" not in (tiny_bundle / "model_card.md").read_text()


def test_an_engine_that_gives_other_maps_is_refused(explained_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(explained_bundle, tmp_path / "bundle"))
    with np.load(folder / CASES) as archive:
        cases = {name: archive[name] for name in archive.files}
    cases["class_map"] = -cases["class_map"]
    (folder / CASES).write_bytes(pack_cases(cases.pop("images"), cases))
    write_hashes(folder)
    with pytest.raises(GateFailed, match="4 of 4 acceptance cases failed"):
        verify_bundle(folder)


def test_int8_leaves_the_maps_in_float_and_passes_its_own_cases(
    explained_bundle: Path, tmp_path: Path
) -> None:
    images = {}
    for seed in range(4):
        path = tmp_path / f"{seed}.png"
        Image.fromarray(dermoscopy(seed, 48).image_HWC).save(path)
        images[str(seed)] = path
    source, out = Bundle(explained_bundle), tmp_path / "int8"
    setting = QuantSetting(method="minmax")
    node = next(n for n in source.spec.nodes if n.name == "cls")
    layers = int8_bundle.planned_layers(source, node, setting)
    graph = onnx.load_from_string(source.read(node.files["fp32"])).graph
    ends = {n.name for n in graph.node if {"logits", "class_map"} & set(n.output)}
    assert len(ends) == 2
    assert layers
    assert not ends & set(layers)
    quantise_bundle(source, images, out, setting=setting)
    assert [case.passed for case in int8_cases(out)] == [True] * 4
    with Cascade.load(out, "onnxruntime", "cpu", "int8") as cascade:
        maps = cascade.predict(photographs()[0]).class_maps
        features_1D = cascade.chain.buffers["features"].read().copy()
    with np.load(out / CASES_INT8) as archive:
        assert archive["features"].shape == (4, *features_1D.shape[1:]) == (4, 8)
    assert np.ptp(features_1D) > 0
    assert [*maps] == [*source.spec.labels]
    assert all(np.isfinite(map_hw).all() for map_hw in maps.values())


def test_peers_of_benchmarks_give_the_maps_too(
    explained_bundle: Path, tiny_bundle: Path, system: System, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for place in ("ckd.train.fitting.run_folder.load_run", "ckd.benchmarks.subjects.load_run"):
        monkeypatch.setattr(place, lambda run: (ckdnet_tiny(), system))
    image_SS3 = parity_images(system.image_size, 1)[0]
    spec = Bundle(explained_bundle).spec
    fused = export_fused(tmp_path, tmp_path, explained_bundle, folds=False)
    with ExitStack() as stack:
        theirs = open_peer("fused", fused, spec, 1, stack)(image_SS3)
        pytorch = open_peer("pytorch", tmp_path, spec, 1, stack)(image_SS3)
    for name in spec.outputs.names():
        np.testing.assert_allclose(theirs[name], pytorch[name], rtol=1e-3, atol=1e-3)
    plain = replace(spec.outputs, class_map=None, features=None)
    assert {"class_map", "features"} <= pytorch.keys()
    assert Bundle(tiny_bundle).spec.outputs == plain
