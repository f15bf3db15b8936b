"""From the signed Q/DQ form that TensorRT takes to the unsigned one that CPUs are fast with.

ONNX Runtime fuses convolution, activation and quantisation into one INT8 kernel only where zero is
the type's smallest number: unsigned with zero point 0 after a Relu. OpenVINO's convolutions are
faster under zero point 0 too, by up to a quarter. Scales stay, so the grid stays: a signed q
becomes q + 128 under zero point 128, and where no number can be negative, q itself under zero point
0. There the grid even reaches on to 255; nothing that was exact is clipped.

OpenVINO 2026.4 takes the signed form too, but computes it wrongly where a layer reads a quantised
concatenation (an error of one standard deviation in a network of five nodes); this form rightly.
"""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import numpy_helper

#: What leaves no negative number behind, whatever it gets.
_RECTIFIERS = ("Relu", "Sigmoid", "Softmax")
#: What leaves none if its first input holds none; the others are shapes, factors and limits.
_OF_FIRST = (
    "QuantizeLinear", "DequantizeLinear", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool",
    "ReduceMean", "DepthToSpace", "Reshape", "Flatten", "Transpose",
)  # fmt: skip
#: What leaves none if no input holds one.
_OF_ALL = ("Add", "Mul", "Concat")


def to_unsigned(
    model: onnx.ModelProto, non_negative_inputs: Collection[str] = ()
) -> onnx.ModelProto:
    """The same network with uint8 activations; weights stay int8 per channel.

    Args:
        model: symmetric int8 Q/DQ, see `ckd.calibration.quantize`; left as it is.
        non_negative_inputs: of the network, that can hold no negative number.
    """
    unsigned = onnx.ModelProto()
    unsigned.CopyFrom(model)
    graph = unsigned.graph
    makers = {name: node for node in graph.node for name in node.output}
    non_negative = non_negative_tensors(graph, non_negative_inputs)
    zero_points: dict[int, str] = {}

    def zero_point(value: int) -> str:
        return zero_points.setdefault(value, f"zero_point_uint8_{value}")

    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            node.input[2] = zero_point(0 if node.input[0] in non_negative else 128)
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if maker is not None and maker.op_type == "QuantizeLinear":
            node.input[2] = maker.input[2]
    for value, name in zero_points.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.uint8), name))
    drop_unused_constants(unsigned)
    onnx.checker.check_model(unsigned)
    return unsigned


def drop_unused_constants(model: onnx.ModelProto) -> None:
    """Remove constants that no node reads, in place."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def non_negative_tensors(graph: onnx.GraphProto, inputs: Collection[str] = ()) -> set[str]:
    """Names of the tensors that can hold no negative number; of ``inputs`` it is known."""
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    found = {*inputs, *(name for name, values in constants.items() if (values >= 0).all())}
    for node in graph.node:  # in running order
        kind, given = node.op_type, [name in found for name in node.input]
        is_clipped = kind == "Clip" and len(given) > 1 and node.input[1] in found
        if (
            kind in _RECTIFIERS
            or is_clipped
            or (kind in _OF_FIRST and given[0])
            or (kind in _OF_ALL and all(given))
            or (kind == "Resize" and given[0] and _interpolates(node))
        ):
            found.update(node.output)
    return found


def _interpolates(resize: onnx.NodeProto) -> bool:
    """Whether each of its numbers lies between those that it is made of; cubic ones overshoot."""
    modes = [a.s for a in resize.attribute if a.name == "mode"]
    return modes in ([], [b"nearest"], [b"linear"])
