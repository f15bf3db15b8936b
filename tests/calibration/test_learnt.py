"""INT8 files by learnt ranges: what is placed, what is put in, and what the gate refuses."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
safetensors = pytest.importorskip("safetensors.numpy")

from exact import int8_cases
from made_of import made_of
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from ckd.calibration import cli, cost_card
from ckd.calibration.cost import Budget
from ckd.calibration.int8_bundle import QuantSetting
from ckd.calibration.learnt_bundle import judged_learnt_bundle, quantise_learnt_bundle
from ckd.calibration.learnt_check import check_placed
from ckd.calibration.learnt_network import find_layers, put_weights, quantise_learnt
from ckd.calibration.placed import network_placement, place, structure_of
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed, InputError, UsageError
from ckd.contract.learnt import LEARNT_WEIGHTS, Learnt, bias_of, weight_key, write_learnt
from ckd.contract.placement import SIGNED, UNSIGNED, NetworkPlacement, Placement, read_placement
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.data.synthetic.write import write_isic2017

FLOAT = onnx.TensorProto.FLOAT
MAP = (1, 2, 4, 4)


def _conv(source: str, weight: str, out: str) -> "NodeProto":
    names = [source, f"{weight}.weight", f"{weight}.bias"]
    return helper.make_node("Conv", names, [out], f"node_{out}")


@pytest.fixture
def model() -> "ModelProto":
    """x -> conv a -> ReLU6 -> conv b, + a sum -> conv c -> y, which leaves the network."""
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"{name}.{kind}")
        for name in "abc"
        for kind, shape in (("weight", (2, 2, 1, 1)), ("bias", (2,)))
    ]
    limits = [numpy_helper.from_array(np.array(n, np.float32), f"limit{n}") for n in (0, 6)]
    nodes = [
        _conv("x", "a", "first"),
        helper.make_node("Clip", ["first", "limit0", "limit6"], ["clipped"], "clip"),
        _conv("clipped", "b", "second"),
        helper.make_node("Add", ["second", "x"], ["sum"], "node_sum"),
        _conv("sum", "c", "y"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, MAP)],
        [helper.make_tensor_value_info(name, FLOAT, MAP) for name in ("y", "sum")],
        [*constants, *limits],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


RECORD: dict[str, Any] = {"seed": 3, "run_weights": "a" * 64}
LAYERS = ("node_first", "node_second", "node_sum", "node_y")
SCALES = {"x": 0.03, "clipped": 0.02, "second": 0.04, "sum": 0.05}


def test_a_placement_names_layers_by_their_weights_and_tensors_with_their_grids(
    model: "ModelProto",
) -> None:
    placed = network_placement(model, LAYERS)
    assert [(layer.op, layer.weight, layer.reads) for layer in placed.layers] == [
        ("Conv", "a.weight", ("x",)),
        ("Conv", "b.weight", ("clipped",)),
        ("Add", None, ("second", "x")),
        ("Conv", "c.weight", ("sum",)),
    ]
    grids = {name: (grid.levels, grid.limit) for name, grid in placed.tensors.items()}
    assert grids == {
        "x": (SIGNED, None),
        "clipped": (UNSIGNED, 6.0),
        "second": (SIGNED, None),
        "sum": (SIGNED, None),
    }
    assert network_placement(model, LAYERS, {"x"}).tensors["x"].levels == UNSIGNED


def test_structure_does_not_depend_on_weights(model: "ModelProto") -> None:
    before = structure_of(model)
    put_weights(model, {"a.weight": np.ones((2, 2, 1, 1), np.float32)})
    assert structure_of(model) == before
    model.graph.node[2].input[0] = "first"
    assert structure_of(model) != before


@pytest.mark.parametrize("unsigned", [True, False])
def test_learnt_scales_and_weights_are_written_as_they_are(
    model: "ModelProto", unsigned: bool
) -> None:
    placed = network_placement(model, LAYERS)
    bias_C = np.array([7, -7], np.float32)
    trained = {"b.weight": np.full((2, 2, 1, 1), 12.7, np.float32), bias_of("b.weight"): bias_C}
    made = quantise_learnt(model, placed, SCALES, trained, unsigned=unsigned)
    constants = {c.name: numpy_helper.to_array(c) for c in made.graph.initializer}
    pairs = {
        node.input[0].removesuffix("_QuantizeLinear_Input"): node
        for node in made.graph.node
        if node.op_type == "QuantizeLinear"
    }
    expected = dict(SCALES) if unsigned else {**SCALES, "clipped": 0.02 * 255 / 127}
    assert {name: constants[node.input[1]] for name, node in pairs.items()} == {
        name: np.float32(scale) for name, scale in expected.items()
    }
    zeros = {name: int(constants[node.input[2]]) for name, node in pairs.items()}
    of_signed = 128 if unsigned else 0
    assert zeros == {**dict.fromkeys(SCALES, of_signed), "clipped": 0}
    np.testing.assert_array_equal(constants["b.weight_quantized"], np.full((2, 2, 1, 1), 127))
    (second,) = (node for node in made.graph.node if node.name == "node_second")
    np.testing.assert_array_equal(constants[second.input[2]], bias_C)


def test_weights_of_another_network_are_refused(model: "ModelProto") -> None:
    with pytest.raises(InputError, match=r"weight z has no place in the bundle's files"):
        put_weights(model, {"z": np.zeros(1, np.float32)})
    with pytest.raises(InputError, match=r"weight a\.weight is \[1\], expected \[2, 2, 1, 1\]"):
        put_weights(model, {"a.weight": np.zeros(1, np.float32)})


def test_a_layer_without_bias_in_the_file_gets_its_own(model: "ModelProto") -> None:
    """The exporter drops biases that are all zero, and layers with equal ones share one."""
    del model.graph.node[0].input[2]
    model.graph.node[2].input[2] = "c.bias"
    biases = {f"{name}.bias": np.full(2, at, np.float32) for at, name in enumerate("abc")}
    put_weights(model, biases)
    onnx.checker.check_model(model)
    assert [node.input[2] for node in model.graph.node if node.op_type == "Conv"] == list(biases)


def _damaged(model: "ModelProto", placed: NetworkPlacement, how: str) -> "ModelProto":
    made = quantise_learnt(model, placed, SCALES, {}, unsigned=True)
    nodes = {node.name: node for node in made.graph.node}
    if how == "scale":
        for constant in made.graph.initializer:
            if constant.name == "sum_scale":
                constant.CopyFrom(
                    numpy_helper.from_array(np.array(0.06, np.float32), constant.name)
                )
    if how == "float layer":
        nodes["node_second"].input[0] = "clipped"
    if how == "missing":
        nodes["node_y"].input[0] = "sum"
        pair = [node for node in made.graph.node if "sum" in node.name and "Linear" in node.op_type]
        for node in pair:
            made.graph.node.remove(node)
    if how == "more":
        for node in [n for n in made.graph.node if n.name.startswith("clipped_")]:
            more = made.graph.node.add()
            more.CopyFrom(node)
            more.name, more.output[0] = f"more_{node.name}", f"more_{node.output[0]}"
            if node.op_type == "DequantizeLinear":
                more.input[0] = f"more_{node.input[0]}"
    if how == "float weight":
        nodes["node_y"].input[1] = "c.weight"
    return made


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("scale", r"scale 0\.06.*, expected 0\.05"),
        ("float layer", "node_second: reads clipped, expected a rounded tensor"),
        ("missing", "sum is placed, and no Q/DQ pair rounds it"),
        ("more", "a pair rounds clipped, which is not placed, or twice"),
        ("float weight", r"node_y: its weight c\.weight is not stored in INT8"),
    ],
)
def test_every_node_that_differs_from_the_placement_fails_the_gate(
    model: "ModelProto", how: str, message: str
) -> None:
    placed = network_placement(model, LAYERS)
    layers = find_layers(model, placed).layers
    made = _damaged(model, placed, how)
    with pytest.raises(GateFailed, match=message):
        check_placed(made, layers, placed.tensors, SCALES, unsigned=True)


@pytest.fixture(scope="module")
def exported(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, as if it were of the run that was learnt from."""
    out = tmp_path_factory.mktemp("exported") / "tiny"
    return made_of(tiny_bundle, out, {"weights_digest": RECORD["run_weights"]})


@pytest.fixture(scope="module")
def learnt(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As if training had left the tiny bundle's own weights, and a scale of 0.05 everywhere."""
    placement = place(Bundle(exported), QuantSetting())
    folder = tmp_path_factory.mktemp("learnt")
    write_learnt(folder, Learnt(placement, _scales(placement), RECORD), _weights(exported))
    return folder


def _scales(placement: Placement) -> dict[str, dict[str, float]]:
    return {
        name: dict.fromkeys(network.tensors, 0.05) for name, network in placement.networks.items()
    }


def _weights(bundle: Path) -> bytes:
    weights: dict[str, NDArray[np.float32]] = {}
    for node in Bundle(bundle).spec.nodes:
        model = onnx.load(bundle / node.files["fp32"])
        weights |= {
            weight_key(node.name, constant.name): numpy_helper.to_array(constant)
            for constant in model.graph.initializer
            if constant.name.endswith((".weight", ".bias"))
        }
    return bytes(safetensors.save(weights))


def test_a_bundle_of_what_was_learnt_holds_the_placement_node_for_node(
    learnt: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8"
    call = ["quantize", "--bundle", str(exported), "--learnt", str(learnt), "--out", str(out)]
    cli.cli(call, standalone_mode=False)
    assert "by what was learnt in" in capsys.readouterr().out
    made = Bundle(out)
    made.verify()
    placement = read_placement(learnt / "placement.json")
    assert placement.networks["cls"].layers  # the classifier too
    for node in made.spec.nodes:
        assert node.files["int8.cpu"] == f"{node.name}.int8.cpu.onnx"
        assert _rounded(onnx.load(out / node.files["int8.cpu"])) == {
            name: (0.05, np.uint8, 0 if grid.levels == UNSIGNED else 128)
            for name, grid in placement.networks[node.name].tensors.items()
        }
    record = json.loads(made.read("calibration.json"))
    assert record["method"] == "learnt"
    files = record["learnt"].pop("files")
    assert set(files) == {"weights.safetensors", "ranges.json"}
    assert record["learnt"] == RECORD
    assert all(case.passed for case in int8_cases(out))


def _rounded(model: "ModelProto") -> Mapping[str, tuple[float, object, int]]:
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    return {
        node.input[0].removesuffix("_QuantizeLinear_Input"): (
            round(float(constants[node.input[1]]), 6),
            constants[node.input[2]].dtype.type,
            int(constants[node.input[2]]),
        )
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_networks_of_which_nothing_is_placed_stay_in_float(exported: Path, tmp_path: Path) -> None:
    placement = place(Bundle(exported), QuantSetting(keep_float=("cls", "rootseg")))
    write_learnt(tmp_path, Learnt(placement, _scales(placement), RECORD), safetensors.save({}))
    quantise_learnt_bundle(Bundle(exported), tmp_path, tmp_path / "out")
    files = {node.name: node.files["int8.cpu"] for node in Bundle(tmp_path / "out").spec.nodes}
    assert files["cls"] == "cls.fp32.onnx"
    assert files["seg_encoder"] == "seg_encoder.int8.cpu.onnx"


def test_a_placement_of_other_networks_is_refused(exported: Path, tmp_path: Path) -> None:
    placement = place(Bundle(exported), QuantSetting(keep_float=("cls", "rootseg")))
    swapped = {**placement.networks, "rootseg": placement.networks["seg_encoder"]}
    for networks, message in (
        (swapped, r"whose network rootseg is built otherwise"),
        ({"cls": placement.networks["cls"]}, r"the placement is of cls, and .* holds rootseg, cls"),
    ):
        other = Placement("other", networks)
        write_learnt(tmp_path, Learnt(other, _scales(other), {}), safetensors.save({}))
        with pytest.raises(UsageError, match=message) as error:
            quantise_learnt_bundle(Bundle(exported), tmp_path, tmp_path / "out")
        assert "\n" not in str(error.value)


def test_what_was_learnt_from_other_weights_of_the_same_shape_is_refused(
    learnt: Path, exported: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Also where one of both does not say of which weights it is."""
    other = made_of(tiny_bundle, tmp_path / "other", {"weights_digest": "b" * 64})
    (silent := tmp_path / "silent").mkdir()
    placement = read_placement(learnt / "placement.json")
    write_learnt(silent, Learnt(placement, _scales(placement), {}), safetensors.save({}))
    for bundle, folder, words in (
        (other, learnt, "with the weights aaaaaaaaaaaa, and those of .* are bbbbbbbbbbbb; export"),
        (tiny_bundle, learnt, "with the weights aaaaaaaaaaaa, and those of .* are not stated"),
        (exported, silent, "with the weights not stated, and those of .* are aaaaaaaaaaaa"),
        (tiny_bundle, silent, "with the weights not stated, and those of .* are not stated"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            quantise_learnt_bundle(Bundle(bundle), folder, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_damaged_weights_are_refused(learnt: Path, exported: Path, tmp_path: Path) -> None:
    for name in ("placement.json", "ranges.json", "qat.json"):
        (tmp_path / name).write_bytes((learnt / name).read_bytes())
    (tmp_path / LEARNT_WEIGHTS).write_bytes((learnt / LEARNT_WEIGHTS).read_bytes()[:100])
    with pytest.raises(InputError, match=r"weights\.safetensors: damaged"):
        quantise_learnt_bundle(Bundle(exported), tmp_path, tmp_path / "out")


def test_images_and_what_was_learnt_are_not_given_together(tmp_path: Path) -> None:
    for given in ([], [str(tmp_path), "--learnt", str(tmp_path)]):
        with pytest.raises(UsageError, match="one of them"):
            cli.cli(["quantize", *given, "--out", str(tmp_path / "out")], standalone_mode=False)
    call = ["quantize", "--learnt", str(tmp_path), "--float", "cls", "--out", str(tmp_path / "out")]
    with pytest.raises(UsageError, match="what was learnt says what stays in float"):
        cli.cli(call, standalone_mode=False)


def test_the_command_writes_a_placement(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "placement.json"
    call = ["placement", "--bundle", str(exported), "--out", str(path), "--float", "cls"]
    cli.cli(call, standalone_mode=False)
    assert "layers in INT8" in capsys.readouterr().out
    placement = read_placement(path)
    assert not placement.networks["cls"].layers
    assert placement.networks["rootseg"].layers


# Judged --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    folder = tmp_path_factory.mktemp("judges") / "data"
    write_isic2017(folder, num_train=1, num_val=4, side_px=40, seed=5)
    return read_split(folder, "val")


@pytest.fixture
def one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_card, "installed", lambda: ("onnxruntime",))


@pytest.mark.usefixtures("one_backend")
def test_what_is_within_the_budget_is_written_with_its_cost(
    learnt: Path, exported: Path, judges: SampleSet, tmp_path: Path
) -> None:
    anything = Budget(jaccard=1.0, auc=1.0, flips=1.0, melanoma_flips=9)
    out = tmp_path / "out"
    judged_learnt_bundle(Bundle(exported), learnt, out, judges, anything)
    record = json.loads((out / "calibration.json").read_text())
    assert record["method"] == "learnt"
    cost = record["costs"]["onnxruntime"]
    card = (out / "model_card.md").read_text()
    assert "4 images of generated (isic2017 layout) (val split), which chose nothing" in card
    assert f"| onnxruntime | {cost['jaccard']:.4f} |" in card
    Bundle(out).verify()


@pytest.mark.usefixtures("one_backend")
def test_what_costs_too_much_is_refused_and_nothing_is_written(
    learnt: Path, exported: Path, judges: SampleSet, tmp_path: Path
) -> None:
    nothing = Budget(jaccard=-1.0)
    with pytest.raises(GateFailed, match=r"onnxruntime: Jaccard lost .* over -1; train longer"):
        judged_learnt_bundle(Bundle(exported), learnt, tmp_path / "out", judges, nothing)
    assert not (tmp_path / "out").exists()


def test_data_is_for_what_was_learnt(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli.cli, ["quantize", str(tmp_path), "--data", "x", "--out", str(tmp_path / "out")]
    )
    assert isinstance(done.exception, UsageError)
    assert "--data judges what was learnt" in str(done.exception)
