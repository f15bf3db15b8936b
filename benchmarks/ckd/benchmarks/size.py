"""The size of a bundle: parameters, multiply-accumulates of an image, bytes.

They are counted in the bundle's own ONNX files, after all folds, so they are what a device really
holds and computes. Needs the extra [export].
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EnvironmentUnusable

if TYPE_CHECKING:
    from onnx_ir import Node, Value

#: One multiply-accumulate for each element of a product's second operand and place of its output.
_PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Counts of the FP32 files of one bundle.

    Attributes:
        parameters: numbers stored in the networks; batch norms are folded into convolutions.
        macs: of convolutions, linear layers and matrix products.
        fp32_bytes: of the FP32 files.
    """

    parameters: int
    macs: int
    fp32_bytes: int


def size_of(bundle: Bundle) -> Size:
    """Count parameters and multiply-accumulates of the FP32 networks.

    Raises:
        EnvironmentUnusable: the package onnx or onnx-ir is not installed.
        BundleError: a file is missing or changed.
    """
    try:
        import onnx
        import onnx_ir as ir

        from ckd.calibration.half_weights import network_of
    except ImportError as error:
        raise EnvironmentUnusable(
            f"{error.name} is not installed; sizes need `pip install '.[export]'` in the project's "
            "folder"
        ) from error
    parameters = macs = num_bytes = 0
    for node in bundle.spec.nodes:
        data = bundle.read(node.files["fp32"])
        inferred = onnx.shape_inference.infer_shapes(network_of(bundle, node, "fp32"))
        graph = ir.from_proto(inferred).graph
        weights = (value.const_value for value in graph.initializers.values())
        parameters += sum(w.size for w in weights if w is not None and w.dtype == ir.DataType.FLOAT)
        macs += sum(_macs_of(product) for product in graph if product.op_type in _PRODUCTS)
        num_bytes += len(data)
    return Size(parameters=parameters, macs=macs, fp32_bytes=num_bytes)


def _macs_of(product: "Node") -> int:
    num_outputs, factor = math.prod(_shape(product.outputs[0])), _shape(product.inputs[1])
    if product.op_type == "Conv":  # kernel [out, in / groups, h, w]
        return num_outputs * math.prod(factor[1:])
    transposed = product.op_type == "Gemm" and product.attributes.get_int("transB")
    return num_outputs * factor[-1 if transposed else -2]


def _shape(value: "Value | None") -> tuple[int, ...]:
    """Shapes are static in the files of a bundle."""
    assert value is not None
    assert value.shape is not None
    return value.shape.numpy()
