"""Which layers of a network are worth computing in INT8, read off its ONNX graph.

Left in float are:

* layers that read the image: with three or four channels there is nothing to gain;
* layers whose output leaves the network as logits, as it is or enlarged and added to others, where
  every step of a coarse grid is a step of the answer;
* layers on 1x1 maps (squeeze and excitation) and on vectors, which cost nothing;
* additions and products with a constant, such as ``1 + gate``: TensorRT refuses them.
"""

import math
from collections.abc import Collection, Sequence

import onnx
import onnx_ir as ir

#: Layers with weights.
LAYERS = ("Conv", "ConvTranspose", "Gemm")
#: Operators that may stand between a sum and the layer that reads it.
_ACTIVATIONS = ("Relu", "Clip")


def quantised_layers(
    model: onnx.ModelProto, answers: Collection[str], residual_adds: bool = True
) -> list[str]:
    """Names of the nodes to quantise, in the order of the graph.

    Args:
        model: in float.
        answers: tensors that leave the cascade as answers.
        residual_adds: also the sums of a layer's output and a tensor of the same shape that feed a
            quantised layer. ONNX Runtime needs them to stay in INT8 between layers.
    """
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    from_image = _reached_without_layers(graph)
    into_answers = _summed_into(graph, answers)
    chosen = {
        node
        for node in graph
        if node.op_type in LAYERS
        and node.inputs[0] not in from_image
        and node.outputs[0] not in into_answers
        and _num_places(node.outputs[0]) > 1
    }
    if residual_adds:
        chosen |= _residual_adds(graph, chosen)
    return [str(node.name) for node in graph if node in chosen]


def layer_groups(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, list[str]]:
    """Layers by the part of the network that their weights belong to, in the order of the graph.

    A part is what the weight's name says up to its first number: "encoder.stages.2", "blocks.0". A
    sum belongs to the layer before it.
    """
    groups: dict[str, list[str]] = {}
    current = "other"
    for node in ir.from_proto(model).graph:
        if node.name is None or node.name not in layers:
            continue
        weight = node.inputs[1]
        if weight is not None and weight.is_initializer():
            current = _part_of(str(weight.name))
        groups.setdefault(current, []).append(node.name)
    return groups


def _part_of(weight: str) -> str:
    parts = weight.split(".")[:-1]
    parts = parts[1:] if parts[:1] == ["network"] else parts  # the exporter's wrapper
    numbered = next((at for at, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[: numbered + 1]) or "other"


def _residual_adds(graph: ir.Graph, layers: Collection[ir.Node]) -> set[ir.Node]:
    """The sums that a layer's output enters and that a layer reads, directly or by other sums."""
    written = {node.outputs[0] for node in layers}
    read = {node.inputs[0] for node in layers}
    sums = set()
    # From the back, so that a sum that only feeds another sum is seen after that one.
    for node in reversed(graph):
        if node.outputs[0] not in read:
            continue
        if node.op_type in _ACTIVATIONS:
            read.add(node.inputs[0])
        elif node.op_type == "Add" and _has_equal_shapes(node) and written & {*node.inputs}:
            sums.add(node)
            read.update(node.inputs)
    return sums


def _has_equal_shapes(add: ir.Node) -> bool:
    """Whether a node adds two tensors of one known shape, neither of them a constant."""
    first, second = (
        None if value is None or value.const_value is not None else value.shape
        for value in add.inputs
    )
    return first is not None and first == second


def _reached_without_layers(graph: ir.Graph) -> set[ir.Value]:
    """The images among the inputs, and the tensors that depend on one through no layer."""
    reached = {value for value in graph.inputs if value.dtype == ir.DataType.UINT8}
    for node in graph:  # in running order
        if node.op_type not in LAYERS and reached.intersection(node.inputs):
            reached.update(node.outputs)
    return reached


def _summed_into(graph: ir.Graph, answers: Collection[str]) -> set[ir.Value | None]:
    """The answers, and the tensors that become one by enlarging and adding alone."""
    tensors: set[ir.Value | None] = {value for value in graph.outputs if value.name in answers}
    for node in reversed(graph):
        if node.op_type in ("Resize", "Add") and tensors.intersection(node.outputs):
            tensors.update(node.inputs)
    return tensors


def _num_places(value: ir.Value) -> int:
    """Number of places of a map, 1 of a vector; 0 where the shape is not known."""
    shape = value.shape
    return math.prod(shape.numpy()[2:]) if shape is not None and shape.is_static() else 0
