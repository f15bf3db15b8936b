"""Float32 files with weights in half precision: smaller, and refused where a decision changes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deciding import let_decide
from numpy.typing import NDArray
from onnx import numpy_helper

from ckd.calibration.half_weights import (
    MIN_ELEMENTS,
    network_of,
    with_float_weights,
    with_half_weights,
)
from ckd.calibration.placement import quantised_layers
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.data.synthetic.write import write_isic2017
from ckd.export.shrink import shrink_bundle
from ckd.export.verify import verify_bundle
from ckd.picture.decode import read_rgb
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    folder = tmp_path_factory.mktemp("shrink") / "data"
    write_isic2017(folder, num_train=1, num_val=4, side_px=40, seed=5)
    return read_split(folder, "val")


@pytest.fixture
def small_tensors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny networks have no large weights."""
    monkeypatch.setattr("ckd.calibration.half_weights.MIN_ELEMENTS", 8)


@pytest.mark.usefixtures("small_tensors_too")
def test_a_shrunk_bundle_is_smaller_and_whole(
    tiny_bundle: Path, samples: SampleSet, tmp_path: Path
) -> None:
    source = Bundle(tiny_bundle)
    report = shrink_bundle(source, samples, tmp_path / "small")
    assert report.num_images == 4
    shrunk = Bundle(tmp_path / "small")
    assert shrunk.num_bytes() < report.bytes_before == source.num_bytes()
    for node in source.spec.nodes:
        before = onnx.load_from_string(source.read(node.files["fp32"]))
        after = onnx.load_from_string(shrunk.read(node.files["fp32"]))
        onnx.checker.check_model(after, full_check=True)
        large = {t.name for t in before.graph.initializer if np.prod(t.dims) >= 8 and
                 t.data_type == onnx.TensorProto.FLOAT}  # fmt: skip
        half = {t.name for t in after.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
        assert half == {f"{name}.half" for name in large}
    assert verify_bundle(tmp_path / "small")["cases"]
    card = (tmp_path / "small" / "model_card.md").read_text()
    assert "On 4 images no decision changed" in card
    # Other files are what they were.
    unchanged = {name for name in source.files if name.endswith(".npz")}
    assert unchanged
    assert all(shrunk.read(name) == source.read(name) for name in unchanged)


@pytest.mark.usefixtures("small_tensors_too")
def test_tools_see_float_weights_again(tiny_bundle: Path) -> None:
    source = Bundle(tiny_bundle)
    node = source.spec.nodes[0]
    exact = network_of(source, node, "fp32")
    back = with_float_weights(with_half_weights(exact))
    weights = {t.name: numpy_helper.to_array(t) for t in exact.graph.initializer}
    restored = {t.name: numpy_helper.to_array(t) for t in back.graph.initializer}
    assert restored.keys() == weights.keys()
    for name, values in weights.items():
        expected = values
        if values.dtype == np.float32 and values.size >= 8:
            expected = values.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(restored[name], expected)
    answers = set(source.spec.outputs.names())
    assert quantised_layers(back, answers) == quantised_layers(exact, answers)


def test_what_half_precision_cannot_hold_stays() -> None:
    huge = np.full(MIN_ELEMENTS, 7e4, np.float32)
    fits = np.linspace(-1, 1, MIN_ELEMENTS, dtype=np.float32)
    counts = np.arange(MIN_ELEMENTS)
    tensors: dict[str, NDArray[Any]] = {
        "huge": huge,
        "fits": fits,
        "few": fits[:4],
        "counts": counts,
    }
    graph = onnx.helper.make_graph(
        [], "g", [], [], [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    )
    half = with_half_weights(onnx.helper.make_model(graph))
    assert {t.name for t in half.graph.initializer} == {"huge", "fits.half", "few", "counts"}


@pytest.mark.usefixtures("small_tensors_too")
def test_a_decision_that_changes_is_named_and_nothing_is_written(
    bundle_copy: Path, samples: SampleSet, tmp_path: Path
) -> None:
    source = Bundle(bundle_copy)
    (first, *_) = samples.samples
    label = source.spec.labels[0]
    half = tmp_path / "half"
    shrink_bundle(source, samples, half)

    def probability(bundle: Path) -> float:
        backend = open_backend("onnxruntime", "cpu", None)
        with Cascade(Bundle(bundle), backend, "fp32") as cascade:
            return cascade.predict(read_rgb(first.image)).probabilities[label]

    before, after = probability(bundle_copy), probability(half)
    assert before != after
    # A threshold between both: the smallest change of a weight changes the decision.
    between = dict.fromkeys(("screening", "balanced", "specific"), (before + after) / 2)
    let_decide(bundle_copy, at_least=between)
    with pytest.raises(GateFailed, match=f"change the verdict on {first.id}"):
        shrink_bundle(Bundle(bundle_copy), samples, tmp_path / "out")
    assert not (tmp_path / "out").exists()
