"""From the signed Q/DQ form that TensorRT takes to the unsigned one that CPUs are fast with.

ONNX Runtime fuses convolution, activation and quantisation into one INT8 kernel only where zero is
the type's smallest number: unsigned with zero point 0 after a Relu. OpenVINO's convolutions are
faster under zero point 0 too, by up to a quarter. Scales stay, so the grid stays: a signed q
becomes q + 128 under zero point 128, and where no number can be negative, q itself under zero point
0. There the grid even reaches on to 255; nothing that was exact is clipped.

OpenVINO 2026.4 takes the signed form too, but computes it wrongly where a layer reads a quantised
concatenation (an error of one standard deviation in a network of five nodes). It computes this form
rightly.

Zero points are exchanged in the protobuf itself, so that all else in the file stays as the
quantiser wrote it.
"""

from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

#: Operators whose output holds no negative number, whatever they read.
_RECTIFIERS = ("Relu", "Sigmoid", "Softmax")
#: Operators whose output holds none if their first input holds none; the other inputs are shapes,
#: factors and limits.
_OF_FIRST = (
    "QuantizeLinear", "DequantizeLinear", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool",
    "ReduceMean", "DepthToSpace", "Reshape", "Flatten", "Transpose",
)  # fmt: skip
#: Operators whose output holds none if no input holds one.
_OF_ALL = ("Add", "Mul", "Concat")


def to_unsigned(
    model: onnx.ModelProto, non_negative_inputs: Collection[str] = ()
) -> onnx.ModelProto:
    """The same network with uint8 activations; weights stay int8 per channel.

    Args:
        model: symmetric int8 Q/DQ, see `ckd.calibration.quantize`; left as it is.
        non_negative_inputs: of the network, that can hold no negative number.
    """
    return unsigned_where(model, non_negative_tensors(model, non_negative_inputs))


def unsigned_where(model: onnx.ModelProto, non_negative: Collection[str]) -> onnx.ModelProto:
    """As `to_unsigned`, with zero point 0 for the pairs that read one of these tensors."""
    unsigned = onnx.ModelProto()
    unsigned.CopyFrom(model)
    graph = unsigned.graph
    zero_points: dict[str, int] = {}  # by quantised tensor
    for node in graph.node:  # in running order
        if node.op_type == "QuantizeLinear":
            zero_points[node.output[0]] = 0 if node.input[0] in non_negative else 128
            node.input[2] = _zero_name(zero_points[node.output[0]])
        elif node.op_type == "DequantizeLinear" and node.input[0] in zero_points:
            node.input[2] = _zero_name(zero_points[node.input[0]])
    for value in dict.fromkeys(zero_points.values()):
        graph.initializer.append(
            numpy_helper.from_array(np.array(value, np.uint8), _zero_name(value))
        )
    drop_unused_constants(unsigned)
    onnx.checker.check_model(unsigned)
    return unsigned


def drop_unused_constants(model: onnx.ModelProto) -> None:
    """Remove constants that no node reads, in place."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def non_negative_tensors(model: onnx.ModelProto, inputs: Collection[str] = ()) -> set[str]:
    """Names of the tensors that can hold no negative number; of ``inputs`` it is known."""
    graph = ir.from_proto(model).graph
    non_negative: set[ir.Value | None] = {v for v in graph.inputs if v.name in inputs}
    for constant in graph.initializers.values():
        if constant.const_value is not None and (constant.const_value.numpy() >= 0).all():
            non_negative.add(constant)
    for node in graph:  # in running order
        kind, known = node.op_type, [value in non_negative for value in node.inputs]
        if (
            kind in _RECTIFIERS
            or (kind == "Clip" and len(known) > 1 and known[1])  # the lower limit
            or (kind in _OF_FIRST and known[0])
            or (kind in _OF_ALL and all(known))
            or (kind == "Resize" and known[0] and _interpolates(node))
        ):
            non_negative.update(node.outputs)
    return {str(value.name) for value in non_negative if value is not None}


def _interpolates(resize: ir.Node) -> bool:
    """Whether each new number lies between those that it is made of; cubic ones overshoot."""
    return resize.attributes.get_string("mode", "nearest") in ("nearest", "linear")


def _zero_name(value: int) -> str:
    return f"zero_point_uint8_{value}"
