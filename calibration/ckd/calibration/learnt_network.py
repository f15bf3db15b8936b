"""One network in INT8 by what quantisation-aware training learnt: its weights and its scales.

Q/DQ pairs are placed as in calibration, the scales are put in as they are, and the finished graph
is compared with the placement node for node.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data

from ckd.calibration.activations import quiet
from ckd.calibration.cpu_file import unsigned_where
from ckd.calibration.learnt_check import check_placed, read_tensor
from ckd.calibration.lint import check_quantized
from ckd.calibration.placed import placed_layer
from ckd.calibration.placement import LAYERS
from ckd.calibration.quantize import place_pairs
from ckd.contract.errors import InputError
from ckd.contract.learnt import bias_of
from ckd.contract.placement import SIGNED, UNSIGNED, NetworkPlacement, PlacedLayer


@dataclass(frozen=True, slots=True)
class Found:
    """The layers of a placement, found in the graph of a file.

    Attributes:
        layers: by the name of the node.
        tensors: name in the graph -> name in the placement; they differ where a file in half
            precision casts.
    """

    layers: Mapping[str, PlacedLayer]
    tensors: Mapping[str, str]


def quantise_learnt(
    model: onnx.ModelProto,
    network: NetworkPlacement,
    scales: Mapping[str, float],
    weights: Mapping[str, NDArray[np.float32]],
    *,
    unsigned: bool,
) -> onnx.ModelProto:
    """The network with the learnt weights, and with Q/DQ pairs of the learnt scales.

    Args:
        model: in float32 or half precision; left as it is.
        network: its placement.
        scales: by tensor of the placement.
        weights: by name of the constant; every one of them must have its place.
        unsigned: for CPUs, with the grids of the placement. Without it all grids are signed, as
            TensorRT takes them: a grid from 0 to 255 then becomes one of 127 steps over the same
            range, which is coarser than what was trained.

    Raises:
        InputError: a weight or a layer of the placement is not in the graph.
        GateFailed: the Q/DQ nodes are not those of the placement.
    """
    trained = onnx.ModelProto()
    trained.CopyFrom(model)
    put_weights(trained, weights)
    found = find_layers(trained, network)
    grids = {name: network.tensors[of] for name, of in found.tensors.items()}
    steps = {
        name: scales[of]
        if unsigned or grids[name].levels == SIGNED
        else scales[of] * UNSIGNED[1] / SIGNED[1]
        for name, of in found.tensors.items()
    }
    with tempfile.TemporaryDirectory() as folder, quiet():
        ranges = Path(folder) / "ranges.json"
        save_tensors_data(_ranges(trained, steps), ranges)
        quantised = place_pairs(trained, found.layers, ranges)
    _put_scales(quantised, steps)
    check_quantized(quantised)
    if unsigned:
        pairs = [node for node in quantised.graph.node if node.op_type == "QuantizeLinear"]
        zero_based = {
            node.input[0] for node in pairs if grids[read_tensor(node)].levels == UNSIGNED
        }
        quantised = unsigned_where(quantised, zero_based)
    check_placed(quantised, found.layers, grids, steps, unsigned=unsigned)
    return quantised


def find_layers(model: onnx.ModelProto, network: NetworkPlacement) -> Found:
    """The nodes of the placement's layers: by their weight, and sums by what they add.

    Raises:
        InputError: a layer is not in the graph.
    """
    by_weight = {layer.weight: layer for layer in network.layers if layer.weight is not None}
    tensors = {
        node.input[0]: by_weight[node.input[1]].reads[0]
        for node in model.graph.node
        if node.op_type in LAYERS and node.input[1] in by_weight
    }
    sums = {layer.reads: layer for layer in network.layers if layer.weight is None}
    layers = {}
    for node in model.graph.node:
        seen = placed_layer(node)
        same = tuple(tensors.get(name, name) for name in seen.reads)
        layer = by_weight.get(seen.weight) if seen.weight is not None else sums.get(same)
        if layer is not None and layer.op == node.op_type and layer.reads == same:
            layers[node.name] = layer
            tensors |= dict(zip(seen.reads, same, strict=True))
    if missing := [layer for layer in network.layers if layer not in layers.values()]:
        what = missing[0].weight or " + ".join(missing[0].reads)
        raise InputError(f"the network has no layer {what} as placed; it is of another bundle")
    return Found(layers, tensors)


def put_weights(model: onnx.ModelProto, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Replace constants by name, in place, in the type that they have.

    The exporter joins constants of equal content and drops biases that are all zero; each layer
    gets a bias of its own again.

    Raises:
        InputError: a weight has no place in the graph, or another shape.
    """
    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    placed: dict[str, Any] = {}

    def put(name: str, instead_of: NDArray[Any]) -> None:
        if weights[name].shape != instead_of.shape:
            raise InputError(
                f"weight {name} is {list(weights[name].shape)}, expected "
                f"{list(instead_of.shape)}; it is of another network"
            )
        placed[name] = numpy_helper.from_array(weights[name].astype(instead_of.dtype), name)

    for node in graph.node:
        for name in node.input[: 2 if node.op_type in LAYERS else None]:
            if name in constants and name in weights:
                put(name, numpy_helper.to_array(constants[name]))
        if node.op_type not in LAYERS:
            continue
        biases = bias_of(node.input[1]), _bias_beside(node.input[1])
        if bias := next((name for name in biases if name in weights), None):
            weight = numpy_helper.to_array(constants[node.input[1]])
            put(bias, np.zeros(weight.shape[0], weight.dtype))
            del node.input[2:]
            node.input.append(bias)
    if left := sorted(set(weights) - set(placed)):
        raise InputError(
            f"weight {left[0]} has no place in the bundle's files; train on the run that the "
            "bundle was exported from"
        )
    kept = [constant for constant in graph.initializer if constant.name not in placed]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *placed.values()])


def _bias_beside(weight: str) -> str:
    """The bias beside "a.weight", or beside "a.weights.0"."""
    parts = weight.split(".")
    return ".".join(parts[:-1] if parts[-1] == "weight" else parts[:-2]) + ".bias"


def _ranges(model: onnx.ModelProto, steps: Mapping[str, float]) -> TensorsData:
    """Ranges by which the quantiser gives about these steps; the exact ones are put in after."""
    half = {c.data_type for c in model.graph.initializer} & {onnx.TensorProto.FLOAT16}
    dtype = np.float16 if half else np.float32

    def extent(step: float) -> TensorData:
        high = np.asarray(step * SIGNED[1], dtype)
        return TensorData(lowest=np.negative(high), highest=high)

    return TensorsData(CalibrationMethod.MinMax, {n: extent(step) for n, step in steps.items()})


def _put_scales(model: onnx.ModelProto, steps: Mapping[str, float]) -> None:
    """Make the scales of the activations exactly these, in place."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale = constants[node.input[1]]
            dtype = numpy_helper.to_array(scale).dtype
            exact = np.asarray(steps[read_tensor(node)], dtype)
            scale.CopyFrom(numpy_helper.from_array(exact, scale.name))
