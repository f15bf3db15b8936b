"""What an INT8 file must not hold, so that TensorRT builds it and computes what was calibrated.

The canonical INT8 file is signed and symmetric: int8 with zero point 0, weights with one scale for
each output channel, activations with one scale, biases in floating point. TensorRT refuses most of
what breaks that, but only on the device and in its parser's words; some of it TensorRT misreads
without a message. `tests/export/test_tensorrt_rtx.py` shows which rule is of which kind.
"""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ckd.contract.errors import GateFailed


def check_quantized(model: onnx.ModelProto) -> None:
    """Check a canonical INT8 file, quantised by QuantizeLinear and DequantizeLinear.

    Raises:
        GateFailed: a node breaks a rule; the message names the first node that does.
    """
    for node in ir.from_proto(model).graph:
        match node.op_type:
            case "QuantizeLinear" | "DequantizeLinear":
                _check_type(node)
                _check_zero_point(node)
                _check_scale(node)
            case "Conv" | "Gemm":
                _check_weight(node)
            case "Add" | "Mul":
                _check_constant_operand(node)


def _check_type(node: ir.Node) -> None:
    source = _input(node, 0)
    if _has_zero_point(node):
        dtype = _parameter(node, 2, "zero point").dtype
    elif node.op_type == "QuantizeLinear":
        # Without a zero point and a type, ONNX means uint8; TensorRT takes it for int8 without a
        # warning.
        dtype = ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8).numpy()
    elif (constant := _constant(source)) is not None:
        dtype = constant.dtype
    else:
        return  # the type is that of the QuantizeLinear before it
    if dtype == np.int32:
        raise GateFailed(
            f"{_name(node)}: {source.name} is int32, expected biases in floating point; TensorRT "
            "refuses to dequantise int32"
        )
    if dtype != np.int8:
        raise GateFailed(
            f"{_name(node)}: quantised to {dtype}, expected int8; TensorRT reads uint8 as int8, "
            "which cuts off the upper half of the range"
        )


def _check_zero_point(node: ir.Node) -> None:
    if not _has_zero_point(node):
        return
    zero_point = _parameter(node, 2, "zero point")
    if zero_point.any():
        value = zero_point[zero_point != 0].flat[0]
        raise GateFailed(f"{_name(node)}: zero point {value}, expected 0; TensorRT refuses others")


def _check_scale(node: ir.Node) -> None:
    scale = _parameter(node, 1, "scale")
    bad = ~(np.isfinite(scale) & (scale > 0))
    if bad.any():
        raise GateFailed(
            f"{_name(node)}: scale {scale[bad].flat[0]:g}, expected finite and above 0; TensorRT "
            "refuses scales that are not positive, and builds with an infinite one"
        )
    if scale.ndim and _constant(_unquantised(_input(node, 0))) is None:
        raise GateFailed(
            f"{_name(node)}: scale of shape {list(scale.shape)}, expected a scalar; TensorRT "
            "quantises activations as a whole"
        )


def _check_weight(node: ir.Node) -> None:
    """A quantised weight has one scale for each output channel."""
    dequantized = _input(node, 1)
    weight = _unquantised(dequantized)
    values, dequantize = _constant(weight), dequantized.producer()
    if weight is dequantized or values is None or dequantize is None:
        return
    shape = values.shape
    expected = 0 if node.op_type == "Conv" or node.attributes.get_int("transB") else 1
    scale = _parameter(dequantize, 1, "scale")
    axis = dequantize.attributes.get_int("axis", 1) % len(shape)
    if scale.shape != (shape[expected],) or axis != expected:
        raise GateFailed(
            f"{_name(node)}: weight {weight.name} has scales of shape {list(scale.shape)} on axis "
            f"{axis}, expected [{shape[expected]}] on axis {expected}: one for each output "
            "channel, or TensorRT loses those with small weights"
        )


def _check_constant_operand(node: ir.Node) -> None:
    """Nothing is quantised around ``1 + x``.

    TensorRT-RTX 1.7.1 refuses a quantised constant if it is a scalar, and builds the rest. That the
    other operand and the result stay in floating point too is our rule: rounding them gains nothing
    here.
    """
    operands = [(value, _unquantised(value)) for value in node.inputs if value is not None]
    if all(_constant(source) is None for _, source in operands):
        return
    for value, source in operands:
        if value is source:
            continue
        if _constant(source) is not None:
            raise GateFailed(
                f"{_name(node)}: its constant {source.name} is quantised, expected floating point; "
                "TensorRT refuses quantised scalars"
            )
        raise GateFailed(
            f"{_name(node)}: its input {source.name} is quantised, expected floating point; beside "
            "a constant nothing is computed in int8"
        )
    (result,) = node.outputs
    if any(consumer.op_type == "QuantizeLinear" for consumer in result.consumers()):
        raise GateFailed(
            f"{_name(node)}: its output {result.name} is quantised, expected floating "
            "point; beside a constant nothing is computed in int8"
        )


def _input(node: ir.Node, at: int) -> ir.Value:
    """An input that the operator requires."""
    value = node.inputs[at]
    assert value is not None
    return value


def _has_zero_point(node: ir.Node) -> bool:
    return len(node.inputs) > 2 and node.inputs[2] is not None


def _constant(value: ir.Value) -> NDArray[Any] | None:
    """The content of an initializer or of a Constant node; None of a tensor that is computed."""
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _parameter(node: ir.Node, at: int, what: str) -> NDArray[Any]:
    """Scale or zero point of a node; `GateFailed` if it is computed."""
    value = _input(node, at)
    content = _constant(value)
    if content is None:
        raise GateFailed(
            f"{_name(node)}: {what} {value.name} is computed, expected a constant; "
            "TensorRT-RTX crashes on computed scales"
        )
    return content


def _unquantised(value: ir.Value) -> ir.Value:
    """The tensor that a tensor is a quantised or dequantised form of; itself if it is not."""
    node = value.producer()
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        value = _input(node, 0)
        node = value.producer()
    return value


def _name(node: ir.Node) -> str:
    """How a reader finds the node in the graph; names of nodes are optional in ONNX."""
    return str(node.name or node.outputs[0].name)
