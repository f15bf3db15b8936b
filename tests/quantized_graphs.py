"""Tiny INT8 graphs as ONNX models: whole ones, and valid ONNX that TensorRT refuses or misreads.

Needs onnx; the fixture `quantized_graphs` gives this module to a test.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Constants = dict[str, NDArray[Any]]

OPSET = 18  # of the float32 files that `ckd.export.onnx` writes
C_IN, C_OUT, SIDE_PX = 4, 8, 8

SCALE = np.array(0.05, np.float32)
ZERO = np.array(0, np.int8)
WEIGHT_SCALES = np.full(C_OUT, 0.01, np.float32)


def conv(
    *,
    scale: NDArray[Any] = SCALE,
    zero_point: NDArray[Any] | None = ZERO,
    weight_scales: NDArray[Any] = WEIGHT_SCALES,
    weight_zero_point: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
) -> onnx.ModelProto:
    """A 3x3 convolution of an int8 activation; ``bias`` of int32 is dequantised, as tools do."""
    constants: Constants = {"scale": scale, "w": _weight(), "weight_scales": weight_scales}
    zeros, weight_zeros = [], []
    if zero_point is not None:
        constants["zero"], zeros = zero_point, ["zero"]
    if weight_zero_point is not None:
        constants["weight_zero"], weight_zeros = weight_zero_point, ["weight_zero"]
    nodes = [
        *_there_and_back("x", ["scale", *zeros]),
        _node("DequantizeLinear", ["w", "weight_scales", *weight_zeros], "w_back", axis=0),
    ]
    inputs = ["x_back", "w_back"]
    if bias is not None:
        constants["bias"] = bias
        inputs.append("bias")
        if bias.dtype == np.int32:
            constants["bias_scales"] = WEIGHT_SCALES * SCALE
            nodes.append(_node("DequantizeLinear", ["bias", "bias_scales"], "bias_back", axis=0))
            inputs[-1] = "bias_back"
    nodes.append(_node("Conv", inputs, "y", pads=[1, 1, 1, 1]))
    return _model(nodes, constants, (1, C_OUT, SIDE_PX, SIDE_PX))


def conv_with_computed_scale() -> onnx.ModelProto:
    """The scale of the activation is its largest value."""
    model = conv()
    (scale,) = (made for made in model.graph.initializer if made.name == "scale")
    model.graph.initializer.remove(scale)
    model.graph.node.insert(0, _node("ReduceMax", ["x"], "scale", keepdims=0))
    return _checked(model)


def gemm(*, transposed: bool, axis: int) -> onnx.ModelProto:
    """A linear layer on the means of a map, its weight scaled along ``axis``."""
    weight = _weight()[:, :, 0, 0] if transposed else _weight()[:, :, 0, 0].T
    scales = np.full(weight.shape[axis], 0.01, np.float32)
    constants: Constants = {"scale": SCALE, "zero": ZERO, "w": weight, "weight_scales": scales}
    nodes = [
        _node("GlobalAveragePool", ["x"], "pooled"),
        _node("Flatten", ["pooled"], "means"),
        *_there_and_back("means", ["scale", "zero"]),
        _node("DequantizeLinear", ["w", "weight_scales"], "w_back", axis=axis),
        _node("Gemm", ["means_back", "w_back"], "y", transB=int(transposed)),
    ]
    return _model(nodes, constants, (1, C_OUT))


def with_constant(op_type: str, quantized: Collection[str] = ()) -> onnx.ModelProto:
    """``x + 1`` or ``x * 1``, with Q/DQ at its "constant", "input" or "output"."""
    constants: Constants = {"scale": SCALE, "zero": ZERO, "one": np.array(1.0, np.float32)}
    nodes, inputs, output = [], ["x", "one"], "y"
    if "input" in quantized:
        nodes += _there_and_back("x", ["scale", "zero"])
        inputs[0] = "x_back"
    if "constant" in quantized:
        constants["one"] = np.array(20, np.int8)
        nodes.append(_node("DequantizeLinear", ["one", "scale", "zero"], "one_back"))
        inputs[1] = "one_back"
    if "output" in quantized:
        output = "sum"
    nodes.append(_node(op_type, inputs, output))
    if "output" in quantized:
        nodes += _there_and_back("sum", ["scale", "zero"], "y")
    return _model(nodes, constants, (1, C_IN, SIDE_PX, SIDE_PX))


def _weight() -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(-127, 128, (C_OUT, C_IN, 3, 3)).astype(np.int8)


def _there_and_back(name: str, parameters: Sequence[str], back: str = "") -> list[NodeProto]:
    """Quantise a tensor and dequantise it into ``back``."""
    return [
        _node("QuantizeLinear", [name, *parameters], f"{name}_there"),
        _node("DequantizeLinear", [f"{name}_there", *parameters], back or f"{name}_back"),
    ]


def _node(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    """Named after its output, as exporters do."""
    return helper.make_node(op_type, inputs, [output], f"{output}_{op_type}", **attributes)


def _model(
    nodes: Sequence[NodeProto], constants: Constants, shape: tuple[int, ...]
) -> onnx.ModelProto:
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", float32, (1, C_IN, SIDE_PX, SIDE_PX))],
        [helper.make_tensor_value_info("y", float32, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return _checked(helper.make_model(graph, opset_imports=[opset], ir_version=10))


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    onnx.checker.check_model(model, full_check=True)
    return model
