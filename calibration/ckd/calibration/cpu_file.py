"""From the signed Q/DQ form that TensorRT takes to the unsigned one that CPUs are fast with.

ONNX Runtime fuses convolution, activation and quantisation into one INT8 kernel only where zero is
the type's smallest number: unsigned with zero point 0 after a Relu. Scales stay, so the grid stays:
a signed q becomes q + 128 under zero point 128, and after a Relu, which leaves q >= 0, q itself
under zero point 0. There the grid even reaches on to 255; nothing that was exact is clipped.

OpenVINO 2026.4 takes the signed form too, but computes it wrongly where a layer reads a quantised
concatenation (an error of one standard deviation in a network of five nodes); this form rightly.
"""

import numpy as np
import onnx
from onnx import numpy_helper

#: What leaves no negative number behind.
_RECTIFIED = ("Relu", "Clip", "Sigmoid")


def to_unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with uint8 activations; weights stay int8 per channel.

    Args:
        model: symmetric int8 Q/DQ, see `ckd.calibration.quantize`; left as it is.
    """
    unsigned = onnx.ModelProto()
    unsigned.CopyFrom(model)
    graph = unsigned.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    zero_points: dict[int, str] = {}

    def zero_point(value: int) -> str:
        return zero_points.setdefault(value, f"zero_point_uint8_{value}")

    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            maker = makers.get(node.input[0])
            node.input[2] = zero_point(0 if _is_rectified(maker, constants) else 128)
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


def _is_rectified(maker: onnx.NodeProto | None, constants: dict[str, np.ndarray]) -> bool:
    if maker is None or maker.op_type not in _RECTIFIED:
        return False
    if maker.op_type == "Clip":
        return len(maker.input) > 1 and bool(constants.get(maker.input[1], -1) >= 0)
    return True
