"""The size of a bundle: parameters, multiply-accumulates of an image, bytes.

They are counted in the bundle's own ONNX files, after all folds, so they are what a device really
holds and computes. Needs the extra [export].
"""

import math
from dataclasses import dataclass
from typing import Any

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EnvironmentUnusable

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
        EnvironmentUnusable: the package onnx is not installed.
        BundleError: a file is missing or changed.
    """
    try:
        import onnx
    except ImportError as error:
        raise EnvironmentUnusable(
            "onnx is not installed; sizes need `pip install '.[export]'` in the project's folder"
        ) from error
    parameters = macs = num_bytes = 0
    for node in bundle.spec.nodes:
        data = bundle.read(node.files["fp32"])
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
        held = {i.name: tuple(i.dims) for i in model.graph.initializer}
        floats = (i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT)
        parameters += sum(math.prod(i.dims) for i in floats)
        macs += _macs(model.graph, held)
        num_bytes += len(data)
    return Size(parameters=parameters, macs=macs, fp32_bytes=num_bytes)


def _macs(graph: Any, held: dict[str, tuple[int, ...]]) -> int:
    shapes = held | {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return sum(_macs_of(node, shapes) for node in graph.node if node.op_type in _PRODUCTS)


def _macs_of(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    second, made = shapes[node.input[1]], math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":  # kernel [out, in / groups, h, w]
        return made * math.prod(second[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    return made * second[-1 if transposed else -2]
