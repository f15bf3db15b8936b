"""The placement of a bundle: which layers and tensors quantisation-aware training has to round.

It is read off the float32 files, by the rules that choose layers for calibration
(`quantised_layers`) and zero points for CPUs (`non_negative_tensors`).
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from ckd.calibration.cpu_file import non_negative_tensors
from ckd.calibration.half_weights import network_of
from ckd.calibration.int8_bundle import QuantSetting, planned_layers
from ckd.calibration.placement import LAYERS
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.placement import (
    SIGNED,
    UNSIGNED,
    Grid,
    NetworkPlacement,
    PlacedLayer,
    Placement,
)


def place(source: Bundle, setting: QuantSetting) -> Placement:
    """What a setting quantises in a bundle, network by network.

    Raises:
        UsageError: the setting names a network or part that does not exist, or leaves everything
            in float.
    """
    networks = {}
    non_negative: set[str] = set()  # tensors between the networks
    for node in source.spec.nodes:
        model = network_of(source, node, "fp32")
        layers = planned_layers(source, node, setting)
        networks[node.name] = network_placement(model, layers, non_negative)
        non_negative |= {*node.outputs} & non_negative_tensors(model, non_negative)
    if not any(network.layers for network in networks.values()):
        raise UsageError("every network is to stay in float, so there is nothing to quantise")
    return Placement(source.id, networks)


def network_placement(
    model: onnx.ModelProto, layers: Collection[str], non_negative_inputs: Collection[str] = ()
) -> NetworkPlacement:
    """The placement of one network.

    Args:
        model: in float.
        layers: names of the nodes to quantise.
        non_negative_inputs: of the network, that can hold no negative number.
    """
    placed = [placed_layer(node) for node in model.graph.node if node.name in layers]
    non_negative = non_negative_tensors(model, non_negative_inputs)
    limits = _limits(model)
    read = dict.fromkeys(name for layer in placed for name in layer.reads)
    return NetworkPlacement(
        structure_of(model),
        tuple(value.name for value in model.graph.input),
        tuple(value.name for value in model.graph.output),
        tuple(placed),
        {
            name: Grid(UNSIGNED if name in non_negative else SIGNED, limits.get(name))
            for name in read
        },
    )


def placed_layer(node: onnx.NodeProto) -> PlacedLayer:
    """A node of a graph as a layer of a placement."""
    if node.op_type in LAYERS:
        return PlacedLayer(node.op_type, node.input[1], (node.input[0],))
    return PlacedLayer(node.op_type, None, tuple(node.input))


def structure_of(model: onnx.ModelProto) -> str:
    """SHA-256 of operators, attributes, names of tensors and shapes of constants.

    Names of constants count only where they are weights of layers: the exporter joins constants of
    equal content, such as biases that are all zero.
    """
    graph = model.graph
    shapes = {constant.name: tuple(constant.dims) for constant in graph.initializer}
    digest = hashlib.sha256()
    for node in graph.node:
        weights = {node.input[1]} if node.op_type in LAYERS else set()
        reads = [
            str(shapes[name]) if name in shapes and name not in weights else name
            for name in node.input
        ]
        weight_shapes = [str(shapes.get(name)) for name in weights]
        attributes = sorted(a.SerializeToString(deterministic=True).hex() for a in node.attribute)
        parts = (node.op_type, *reads, *weight_shapes, *node.output, *attributes)
        digest.update(("\t".join(parts) + "\n").encode())
    for value in (*graph.input, *graph.output):
        digest.update(value.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _limits(model: onnx.ModelProto) -> Mapping[str, float]:
    """The largest number of each tensor that a clip with a constant limit gives."""
    return dict(_clipped(ir.from_proto(model).graph))


def _clipped(graph: ir.Graph) -> Iterable[tuple[str, float]]:
    for node in graph:
        high = node.inputs[2] if node.op_type == "Clip" and len(node.inputs) > 2 else None
        content = None if high is None else ir.convenience.get_const_tensor(high)
        if content is not None and (limit := float(np.asarray(content.numpy()))) > 0:
            yield str(node.outputs[0].name), limit
