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
from onnx import NodeProto, shape_inference

#: Layers with weights, and what may stand between a sum and the layer that reads it.
LAYERS = ("Conv", "ConvTranspose", "Gemm")
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
    graph = shape_inference.infer_shapes(model).graph
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.value_info, *graph.output)}
    from_image = _reached_without_layers(graph.node, _image_inputs(graph))
    answers = _summed_into(graph.node, answers)
    wanted = [
        node
        for node in graph.node
        if node.op_type in LAYERS
        and node.input[0] not in from_image
        and node.output[0] not in answers
        and math.prod(shapes.get(node.output[0], ())[2:]) > 1
    ]
    if residual_adds:
        made = {node.output[0] for node in wanted}
        read = {node.input[0] for node in wanted}
        # From the back, so that a sum that only feeds another sum is seen after that one.
        for node in reversed(graph.node):
            after = set(node.output)
            if node.op_type in _ACTIVATIONS and after & read:
                read.add(node.input[0])
            elif node.op_type == "Add" and after & read and _is_residual(node, made, shapes):
                wanted.append(node)
                read.update(node.input)
    names = {node.name for node in wanted}
    return [node.name for node in graph.node if node.name in names]


def layer_groups(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, list[str]]:
    """Layers by the part of the network that their weights belong to, in the order of the graph.

    A part is what the weight's name says up to its first number: "encoder.stages.2", "blocks.0". A
    sum belongs to the layer before it.
    """
    weights = {i.name for i in model.graph.initializer}
    groups: dict[str, list[str]] = {}
    current = "other"
    for node in model.graph.node:
        if node.name in layers:
            named = [name for name in node.input[1:2] if name in weights]
            current = _part_of(named[0]) if named else current
            groups.setdefault(current, []).append(node.name)
    return groups


def _part_of(weight: str) -> str:
    parts = weight.split(".")[:-1]
    parts = parts[1:] if parts[:1] == ["network"] else parts  # the exporter's wrapper
    numbered = next((at for at, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[: numbered + 1]) or "other"


def _is_residual(
    node: NodeProto, made: Collection[str], shapes: dict[str, tuple[int, ...]]
) -> bool:
    """A sum of two tensors of one known shape, one of which a quantised layer made."""
    first, second = (shapes.get(name) for name in node.input)
    return first is not None and first == second and any(name in made for name in node.input)


def _image_inputs(graph: onnx.GraphProto) -> set[str]:
    return {i.name for i in graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.UINT8}


def _reached_without_layers(nodes: Sequence[NodeProto], start: set[str]) -> set[str]:
    """Tensors that depend on ``start`` through no layer; nodes come in running order."""
    reached = set(start)
    for node in nodes:
        if node.op_type not in LAYERS and reached & set(node.input):
            reached.update(node.output)
    return reached


def _summed_into(nodes: Sequence[NodeProto], answers: Collection[str]) -> set[str]:
    """The answers, and the tensors that become one by enlarging and adding alone."""
    found = set(answers)
    for node in reversed(nodes):
        if node.op_type in ("Resize", "Add") and found & set(node.output):
            found.update(node.input)
    return found


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
