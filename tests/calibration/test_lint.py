"""Every rule of INT8 files catches what breaks it, and names the node."""

import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

from ckd.calibration.lint import check_quantized
from ckd.contract.errors import GateFailed


def refused(model: onnx.ModelProto, said: str) -> None:
    with pytest.raises(GateFailed, match=re.escape(said)) as caught:
        check_quantized(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_zero_point": np.zeros(8, np.int8)},
        {"bias": np.ones(8, np.float32)},
    ],
)
def test_a_signed_symmetric_convolution_passes(
    quantized_graphs: ModuleType, changes: dict[str, Any]
) -> None:
    check_quantized(quantized_graphs.conv(**changes))


def test_a_file_without_anything_quantised_passes(quantized_graphs: ModuleType) -> None:
    check_quantized(quantized_graphs.with_constant("Add"))


@pytest.mark.parametrize("zero_point", [-3, 1])
def test_zero_points_are_0(quantized_graphs: ModuleType, zero_point: int) -> None:
    refused(
        quantized_graphs.conv(zero_point=np.array(zero_point, np.int8)),
        f"x_there_QuantizeLinear: zero point {zero_point}, expected 0; TensorRT refuses",
    )
    of_a_weight = np.zeros(8, np.int8)
    of_a_weight[5] = zero_point
    refused(
        quantized_graphs.conv(weight_zero_point=of_a_weight),
        f"w_back_DequantizeLinear: zero point {zero_point}, expected 0",
    )


@pytest.mark.parametrize("zero_point", [np.array(0, np.uint8), np.array(128, np.uint8), None])
def test_activations_are_int8(quantized_graphs: ModuleType, zero_point: Any) -> None:
    """A QuantizeLinear that says nothing gives uint8."""
    refused(
        quantized_graphs.conv(zero_point=zero_point),
        "x_there_QuantizeLinear: quantised to uint8, expected int8; TensorRT reads uint8 as int8",
    )


def test_the_type_can_be_an_attribute(quantized_graphs: ModuleType) -> None:
    model = quantized_graphs.conv(zero_point=None)
    model.opset_import[0].version = 21
    quantize = model.graph.node[0]
    quantize.attribute.append(onnx.helper.make_attribute("output_dtype", onnx.TensorProto.INT8))
    onnx.checker.check_model(model, full_check=True)
    check_quantized(model)


def test_biases_stay_in_floating_point(quantized_graphs: ModuleType) -> None:
    refused(
        quantized_graphs.conv(bias=np.arange(8, dtype=np.int32)),
        "bias_back_DequantizeLinear: bias is int32, expected biases in floating point; TensorRT "
        "refuses",
    )


@pytest.mark.parametrize("op_type", ["Add", "Mul"])
@pytest.mark.parametrize(
    ("quantized", "said"),
    [
        ("constant", "its constant one is quantised"),
        ("input", "its input x is quantised"),
        ("output", "its output sum is quantised"),
    ],
)
def test_nothing_is_quantised_around_a_constant_operand(
    quantized_graphs: ModuleType, op_type: str, quantized: str, said: str
) -> None:
    name = "sum" if quantized == "output" else "y"
    refused(quantized_graphs.with_constant(op_type, [quantized]), f"{name}_{op_type}: {said}")


def test_a_constant_may_be_a_node(quantized_graphs: ModuleType) -> None:
    model = quantized_graphs.with_constant("Add", ["input"])
    (one,) = (made for made in model.graph.initializer if made.name == "one")
    model.graph.initializer.remove(one)
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["one"], value=one))
    refused(model, "y_Add: its input x is quantised")


def test_an_addition_of_two_activations_may_be_quantised(quantized_graphs: ModuleType) -> None:
    model = quantized_graphs.with_constant("Add", ["input", "output"])
    (add,) = (node for node in model.graph.node if node.op_type == "Add")
    add.input[1] = add.input[0]
    check_quantized(model)


def test_weights_have_one_scale_for_each_output_channel(quantized_graphs: ModuleType) -> None:
    refused(
        quantized_graphs.conv(weight_scales=np.array(0.01, np.float32)),
        "y_Conv: weight w has scales of shape [] on axis 0, expected [8] on axis 0",
    )


@pytest.mark.parametrize("transposed", [True, False])
def test_output_channels_of_a_linear_layer_depend_on_its_layout(
    quantized_graphs: ModuleType, transposed: bool
) -> None:
    right, wrong = (0, 1) if transposed else (1, 0)
    check_quantized(quantized_graphs.gemm(transposed=transposed, axis=right))
    refused(
        quantized_graphs.gemm(transposed=transposed, axis=wrong),
        f"y_Gemm: weight w has scales of shape [4] on axis {wrong}, expected [8] on axis {right}",
    )


def test_activations_have_one_scale(quantized_graphs: ModuleType) -> None:
    refused(
        quantized_graphs.conv(scale=np.full(4, 0.05, np.float32), zero_point=np.zeros(4, np.int8)),
        "x_there_QuantizeLinear: scale of shape [4], expected a scalar",
    )


@pytest.mark.parametrize("scale", [0.0, -0.05, np.nan, np.inf])
def test_scales_are_finite_and_positive(quantized_graphs: ModuleType, scale: float) -> None:
    refused(
        quantized_graphs.conv(scale=np.array(scale, np.float32)),
        f"x_there_QuantizeLinear: scale {scale:g}, expected finite and above 0",
    )
    of_weights = np.full(8, 0.01, np.float32)
    of_weights[3] = scale
    refused(
        quantized_graphs.conv(weight_scales=of_weights),
        f"w_back_DequantizeLinear: scale {scale:g}, expected finite and above 0",
    )


def test_scales_are_constants(quantized_graphs: ModuleType) -> None:
    refused(
        quantized_graphs.conv_with_computed_scale(),
        "x_there_QuantizeLinear: scale scale is computed, expected a constant",
    )


def test_a_node_without_a_name_goes_by_its_output(quantized_graphs: ModuleType) -> None:
    model = quantized_graphs.conv(zero_point=np.array(7, np.int8))
    model.graph.node[0].name = ""
    refused(model, "x_there: zero point 7, expected 0")
