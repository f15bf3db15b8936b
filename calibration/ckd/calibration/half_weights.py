"""Weights of a float32 network kept in half precision, so that its file is half as large.

The network still computes in float32: an engine widens the weights once, when it loads the file.
Each is rounded to 11 bits, which is what FP16 files hold; whether that changes an answer is for
`ckd-export shrink` to show.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ckd.contract.bundle import Bundle
from ckd.contract.spec import NodeSpec

#: Tensors of fewer elements stay as they are: biases, and constants that shape the graph.
MIN_ELEMENTS = 512
_SUFFIX = ".half"


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large float32 weights are half-precision ones behind a Cast.

    Weights that half precision cannot hold, beyond 65504, stay as they are.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    casts, kept = [], []
    for tensor in copy.graph.initializer:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16) if values.dtype == np.float32 else values
        if half is values or values.size < MIN_ELEMENTS or not np.isfinite(half).all():
            kept.append(tensor)
            continue
        name = tensor.name + _SUFFIX
        kept.append(numpy_helper.from_array(half, name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.initializer[:], copy.graph.node[:]
    copy.graph.initializer.extend(kept)
    copy.graph.node.extend(nodes)
    return copy


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The inverse, as far as rounding allows: a copy whose weights are float32 initialisers.

    Tools that look for weights do not look behind a Cast.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in copy.graph.initializer}
    nodes, widened = [], {}
    for node in copy.graph.node:
        if not _is_wider(node, tensors):
            nodes.append(node)
            continue
        name = node.input[0]
        values = numpy_helper.to_array(tensors[name]).astype(np.float32)
        widened[name] = numpy_helper.from_array(values, node.output[0])
    kept = [widened.get(name, tensor) for name, tensor in tensors.items()]
    del copy.graph.initializer[:], copy.graph.node[:]
    copy.graph.initializer.extend(kept)
    copy.graph.node.extend(nodes)
    return copy


def network_of(bundle: Bundle, node: NodeSpec, kind: str) -> onnx.ModelProto:
    """A network of a bundle, read from its file of a kind, with float32 weights where it has any.

    Raises:
        BundleError: the file is missing or was changed.
    """
    return with_float_weights(onnx.load_from_string(bundle.read(node.files[kind])))


def _is_wider(node: onnx.NodeProto, tensors: Mapping[str, TensorProto]) -> bool:
    """Whether a node widens a constant of half precision."""
    if node.op_type != "Cast" or node.input[0] not in tensors:
        return False
    to_float = helper.get_node_attr_value(node, "to") == TensorProto.FLOAT
    return to_float and tensors[node.input[0]].data_type == TensorProto.FLOAT16
