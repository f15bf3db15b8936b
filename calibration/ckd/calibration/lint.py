"""What an INT8 file must not hold, so that TensorRT builds it and computes what was calibrated.

The canonical INT8 file is signed and symmetric: int8 with zero point 0, weights with one scale for
each output channel, activations with one scale, biases in floating point. TensorRT refuses most of
what breaks that, but only on the device and in its parser's words; some of it it misreads and says
nothing. Which is which is shown in `tests/export/test_tensorrt_rtx.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ckd.contract.errors import GateFailed


def check_quantized(model: onnx.ModelProto) -> None:
    """Check a canonical INT8 file, quantised by QuantizeLinear and DequantizeLinear.

    Raises:
        GateFailed: a node breaks a rule; the message names the first that does.
    """
    graph = _Graph.of(model)
    for node in model.graph.node:
        match node.op_type:
            case "QuantizeLinear" | "DequantizeLinear":
                _check_type(node, graph)
                _check_zero_point(node, graph)
                _check_scale(node, graph)
            case "Conv" | "Gemm":
                _check_weight(node, graph)
            case "Add" | "Mul":
                _check_constant_operand(node, graph)


@dataclass(frozen=True, slots=True)
class _Graph:
    """Constants, and who makes and who takes each tensor, by tensor name."""

    constants: Mapping[str, NDArray[Any]]
    producers: Mapping[str, onnx.NodeProto]
    consumers: Mapping[str, Sequence[onnx.NodeProto]]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "_Graph":
        constants = {made.name: numpy_helper.to_array(made) for made in model.graph.initializer}
        producers: dict[str, onnx.NodeProto] = {}
        consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            if node.op_type == "Constant":
                value = helper.get_attribute_value(node.attribute[0])
                is_tensor = isinstance(value, onnx.TensorProto)
                array = numpy_helper.to_array(value) if is_tensor else np.asarray(value)
                constants[node.output[0]] = array
            producers.update(dict.fromkeys(node.output, node))
            for name in node.input:
                consumers.setdefault(name, []).append(node)
        return cls(constants, producers, consumers)

    def source(self, name: str) -> str:
        """The tensor that a tensor is a quantised or dequantised form of; itself if it is not."""
        made_by = self.producers.get(name)
        while made_by is not None and made_by.op_type in ("QuantizeLinear", "DequantizeLinear"):
            name = made_by.input[0]
            made_by = self.producers.get(name)
        return name

    def parameter(self, node: onnx.NodeProto, at: int, what: str) -> NDArray[Any]:
        """Scale or zero point of a node; `GateFailed` if it is computed."""
        if node.input[at] not in self.constants:
            raise GateFailed(
                f"{_name(node)}: {what} {node.input[at]} is computed, expected a constant; "
                "TensorRT-RTX crashes on computed scales"
            )
        return self.constants[node.input[at]]


def _check_type(node: onnx.NodeProto, graph: _Graph) -> None:
    if _has_zero_point(node):
        dtype = graph.parameter(node, 2, "zero point").dtype
    elif node.op_type == "QuantizeLinear":
        # Where nothing is said, ONNX means uint8; TensorRT takes it for int8 without a warning.
        dtype = helper.tensor_dtype_to_np_dtype(
            _attribute(node, "output_dtype", 0) or onnx.TensorProto.UINT8
        )
    elif node.input[0] in graph.constants:
        dtype = graph.constants[node.input[0]].dtype
    else:
        return  # the type is that of the QuantizeLinear before it
    if dtype == np.int32:
        raise GateFailed(
            f"{_name(node)}: {node.input[0]} is int32, expected biases in floating point; TensorRT "
            "refuses to dequantise int32"
        )
    if dtype != np.int8:
        raise GateFailed(
            f"{_name(node)}: quantised to {dtype}, expected int8; TensorRT reads uint8 as int8, "
            "which cuts off the upper half of the range"
        )


def _check_zero_point(node: onnx.NodeProto, graph: _Graph) -> None:
    if not _has_zero_point(node):
        return
    zero_point = graph.parameter(node, 2, "zero point")
    if zero_point.any():
        value = zero_point[zero_point != 0].flat[0]
        raise GateFailed(f"{_name(node)}: zero point {value}, expected 0; TensorRT refuses others")


def _check_scale(node: onnx.NodeProto, graph: _Graph) -> None:
    scale = graph.parameter(node, 1, "scale")
    bad = ~(np.isfinite(scale) & (scale > 0))
    if bad.any():
        raise GateFailed(
            f"{_name(node)}: scale {scale[bad].flat[0]:g}, expected finite and above 0; TensorRT "
            "refuses scales that are not positive, and builds with an infinite one"
        )
    if scale.ndim and graph.source(node.input[0]) not in graph.constants:
        raise GateFailed(
            f"{_name(node)}: scale of shape {list(scale.shape)}, expected a scalar; TensorRT "
            "quantises activations as a whole"
        )


def _check_weight(node: onnx.NodeProto, graph: _Graph) -> None:
    """One scale for each output channel, of a weight that is quantised at all."""
    weight = graph.source(node.input[1])
    if weight == node.input[1] or weight not in graph.constants:
        return
    shape = graph.constants[weight].shape
    axis = 0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 1
    dequantize = graph.producers[node.input[1]]
    scale = graph.parameter(dequantize, 1, "scale")
    given = _attribute(dequantize, "axis", 1) % len(shape)
    if scale.shape != (shape[axis],) or given != axis:
        raise GateFailed(
            f"{_name(node)}: weight {weight} has scales of shape {list(scale.shape)} on axis "
            f"{given}, expected [{shape[axis]}] on axis {axis}: one for each output "
            "channel, or TensorRT loses those with small weights"
        )


def _check_constant_operand(node: onnx.NodeProto, graph: _Graph) -> None:
    """Nothing is quantised around ``1 + x``.

    TensorRT-RTX 1.7.1 refuses the constant if it is a scalar; the rest it builds. That the other
    operand and the result stay in floating point too is our rule: rounding them gains nothing here.
    """
    sources = {name: graph.source(name) for name in node.input}
    if not any(source in graph.constants for source in sources.values()):
        return
    for name, source in sources.items():
        if name != source and source in graph.constants:
            raise GateFailed(
                f"{_name(node)}: its constant {source} is quantised, expected floating point; "
                "TensorRT refuses quantised scalars"
            )
        if name != source:
            raise GateFailed(
                f"{_name(node)}: its input {source} is quantised, expected floating point; beside "
                "a constant nothing is computed in int8"
            )
    for consumer in graph.consumers.get(node.output[0], ()):
        if consumer.op_type == "QuantizeLinear":
            raise GateFailed(
                f"{_name(node)}: its output {node.output[0]} is quantised, expected floating "
                "point; beside a constant nothing is computed in int8"
            )


def _has_zero_point(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((made.i for made in node.attribute if made.name == name), default)


def _name(node: onnx.NodeProto) -> str:
    """What a reader finds it by in the graph; names of nodes are optional in ONNX."""
    return str(node.name or node.output[0])
