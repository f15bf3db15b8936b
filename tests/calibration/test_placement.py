from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

onnx = pytest.importorskip("onnx")

from onnx import helper

from ckd.calibration.placement import quantised_layers

FLOAT, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
MAP = (1, 4, 8, 8)


def _model(
    nodes: "Sequence[NodeProto]", inputs: dict[str, tuple[int, ...]], outputs: Sequence[str]
) -> "ModelProto":
    """Weights are called w (3x3, 4 to 4), constants c."""
    given = [
        helper.make_tensor_value_info(name, UINT8 if name == "image" else FLOAT, shape)
        for name, shape in inputs.items()
    ]
    left = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    constants = [
        helper.make_tensor("w", FLOAT, (4, 4, 3, 3), [0.1] * 144),
        helper.make_tensor("c", FLOAT, (), [1.0]),
        helper.make_tensor("axes", onnx.TensorProto.INT64, (2,), [2, 3]),
    ]
    graph = helper.make_graph(list(nodes), "g", given, left, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def _conv(source: str, out: str) -> "NodeProto":
    return helper.make_node("Conv", [source, "w"], [out], out, pads=[1, 1, 1, 1])


def _node(kind: str, sources: Sequence[str], out: str) -> "NodeProto":
    return helper.make_node(kind, sources, [out], out, **({"to": FLOAT} if kind == "Cast" else {}))


def test_layers_between_the_ends_are_quantised() -> None:
    nodes = [
        _node("Cast", ["image"], "float"),
        _node("Sub", ["float", "c"], "normal"),
        _conv("normal", "first"),
        _conv("first", "middle"),
        _conv("middle", "logits"),
    ]
    model = _model(nodes, {"image": MAP}, ["logits"])
    assert quantised_layers(model, {"logits"}) == ["middle"]


def test_a_layer_that_reads_image_and_another_tensor_is_left() -> None:
    nodes = [
        _node("Cast", ["image"], "float"),
        _node("Mul", ["float", "mask"], "both"),
        _conv("both", "first"),
        _conv("mask", "second"),
    ]
    model = _model(nodes, {"image": MAP, "mask": MAP}, ["first", "second"])
    assert quantised_layers(model, set()) == ["second"]


def test_tensors_that_go_to_another_network_are_no_ends() -> None:
    assert quantised_layers(_model([_conv("h", "gate")], {"h": MAP}, ["gate"]), set()) == ["gate"]


def test_layers_that_are_enlarged_and_added_into_an_answer_are_left() -> None:
    nodes = [
        _conv("h", "a"),
        _conv("a", "coarse"),
        _conv("a", "fine"),
        helper.make_node("Resize", ["coarse", "", "scales"], ["large"], "large"),
        _node("Add", ["fine", "large"], "class_map"),
    ]
    model = _model(nodes, {"h": MAP}, ["class_map"])
    assert quantised_layers(model, {"class_map"}) == ["a"]
    layers = quantised_layers(model, {"another"}, residual_adds=False)
    assert layers == ["a", "coarse", "fine"]


def test_a_layer_whose_mean_over_places_leaves_as_an_answer_is_quantised() -> None:
    nodes = [
        _conv("h", "last"),
        helper.make_node("ReduceMean", ["last", "axes"], ["pooled"], "pooled", keepdims=0),
    ]
    assert quantised_layers(_model(nodes, {"h": MAP}, ["pooled"]), {"pooled"}) == ["last"]


def test_layers_on_one_pixel_are_left() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["h", "axes"], ["mean"], "mean"),
        _conv("mean", "squeezed"),
    ]
    assert quantised_layers(_model(nodes, {"h": MAP}, ["squeezed"]), set()) == []


def test_sums_of_residual_blocks_are_quantised_and_gates_are_not() -> None:
    nodes = [
        _conv("h", "a"),
        _node("Add", ["a", "h"], "residual"),
        _node("Relu", ["residual"], "relu"),
        _conv("relu", "b"),
        _node("Add", ["b", "c"], "constant"),
        _node("Mul", ["b", "constant"], "gated"),
        _conv("gated", "d"),
        _node("Add", ["d", "b"], "at_the_end"),
    ]
    model = _model(nodes, {"h": MAP}, ["at_the_end"])
    assert quantised_layers(model, set()) == ["a", "residual", "b", "d"]
    assert quantised_layers(model, set(), residual_adds=False) == ["a", "b", "d"]


def test_a_sum_that_feeds_another_residual_sum_is_quantised() -> None:
    nodes = [
        _conv("h", "a"),
        _node("Add", ["a", "h"], "one"),
        _conv("one", "b"),
        _node("Add", ["b", "one"], "two"),
        _conv("two", "d"),
    ]
    assert quantised_layers(_model(nodes, {"h": MAP}, ["d"]), set()) == [
        "a",
        "one",
        "b",
        "two",
        "d",
    ]
