"""The gate of learnt INT8 files: their Q/DQ nodes are those of the placement, node for node."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from ckd.calibration.placement import LAYERS
from ckd.contract.errors import GateFailed
from ckd.contract.placement import UNSIGNED, Grid, PlacedLayer

#: What ONNX Runtime's quantiser appends to the name of a tensor that leaves the network: what the
#: layer gives is called so, and the tensor itself is what comes out of the pair.
_BEFORE_PAIR = "_QuantizeLinear_Input"


def read_tensor(quantize: onnx.NodeProto) -> str:
    """The tensor that a QuantizeLinear node rounds, by the name that it has in the float graph."""
    return str(quantize.input[0]).removesuffix(_BEFORE_PAIR)


def check_placed(
    model: onnx.ModelProto,
    layers: Mapping[str, PlacedLayer],
    grids: Mapping[str, Grid],
    steps: Mapping[str, float],
    *,
    unsigned: bool,
) -> None:
    """Compare the Q/DQ nodes of a finished network with its placement.

    Every tensor of the placement, and no other, is rounded by one pair, on its grid and with its
    scale; every layer reads the rounded tensors; and every weight of a layer, and no other, is
    stored in INT8 with one scale per output channel.

    Args:
        model: as it will be written.
        layers: by the name of their node.
        grids: by the name of the tensor in this graph.
        steps: the scale of each.
        unsigned: whether grids from 0 to 255 are uint8; otherwise all are int8.

    Raises:
        GateFailed: a node differs; the message names it.
    """
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    rounded: dict[str, str] = {}  # tensor -> what comes out of its pair
    stored: dict[str, str] = {}  # weight in INT8 -> what comes out
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        before = producers.get(node.input[0])
        if before is None:
            stored[node.input[0]] = node.output[0]
            continue
        tensor = read_tensor(before)
        if tensor in rounded or tensor not in grids:
            raise GateFailed(f"{node.name}: a pair rounds {tensor}, which is not placed, or twice")
        rounded[tensor] = node.output[0]
        zero_based = unsigned and grids[tensor].levels == UNSIGNED
        zero = np.array(128 * (not zero_based) * unsigned, np.uint8 if unsigned else np.int8)
        for one in (before, node):
            scale, zero_point = constants[one.input[1]], constants[one.input[2]]
            exact = np.asarray(steps[tensor], scale.dtype)
            if scale != exact or zero_point != zero or zero_point.dtype != zero.dtype:
                raise GateFailed(
                    f"{one.name}: scale {scale:.7g} and zero point {zero_point} "
                    f"({zero_point.dtype}), expected {exact:.7g} and {zero} ({zero.dtype}) of "
                    f"{tensor}"
                )
    if missing := sorted(set(grids) - set(rounded)):
        raise GateFailed(f"{missing[0]} is placed, and no Q/DQ pair rounds it")
    nodes = {node.name: node for node in model.graph.node}
    for name, layer in layers.items():
        for read in nodes[name].input[: len(layer.reads)]:
            if read not in rounded.values():
                raise GateFailed(f"{name}: reads {read}, expected a rounded tensor")
        if nodes[name].op_type in LAYERS:
            weight = [key for key, out in stored.items() if out == nodes[name].input[1]]
            if not weight or constants[weight[0]].dtype != np.int8:
                raise GateFailed(f"{name}: its weight {layer.weight} is not stored in INT8")
            del stored[weight[0]]
    if stored:
        raise GateFailed(f"{min(stored)} is stored in INT8, and no placed layer reads it")
