"""A network traced as it is exported, with rounding at exactly the tensors of a placement.

Tracing gives tensors the names that they have in the ONNX file, because the exporter traces the
same form. Every layer of the placement is looked up by its weight and by what it reads, so a
placement of another network is noticed.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from ckd.contract.errors import UsageError
from ckd.contract.learnt import bias_of
from ckd.contract.placement import NetworkPlacement, PlacedLayer
from ckd.contract.wiring import IMAGE
from ckd.train.folds import ExportedNode, example_inputs
from ckd.train.quantised.rounding import LearntGrid, rounded_bias, rounded_weight
from ckd.train.systems.graph import Node, System, tensor_shapes

_ATEN: Final = torch.ops.aten
#: ONNX operator of a placed layer -> its operator in a traced graph. Weights of all of them have
#: their output channels first.
_OPERATORS: Final[Mapping[str, Any]] = {
    "Conv": _ATEN.conv2d.default,
    "Gemm": _ATEN.linear.default,
    "Add": _ATEN.add.Tensor,
}
#: Where the grids are in a traced network; a tensor's name follows.
_GRIDS: Final = "grids"
_REMEDY: Final = (
    "make one of this run's bundle by `ckd-export bundle` and `ckd-calibrate placement`"
)


def quantised_network(node: Node, system: System, placed: NetworkPlacement) -> fx.GraphModule:
    """The node's network with a `LearntGrid` at each placed tensor, and rounded weights.

    It takes the normalised image, as the node's own module does, and batches of any size. Its grids
    observe until they are started.

    Args:
        node: of ``system``.
        system: folded, see `ckd.train.folds`.
        placed: what to round.

    Raises:
        UsageError: the placement is of another network, or rounds a layer that cannot be.
    """
    if (node.inputs, node.outputs) != (placed.inputs, placed.outputs):
        raise UsageError(
            f"{node.name}: the placement has inputs and outputs {placed.inputs} and "
            f"{placed.outputs}, the run {node.inputs} and {node.outputs}; {_REMEDY}"
        )
    network = _traced(node, system)
    tensors = _by_name(network.graph, placed)
    layers = [_find(network.graph, layer, tensors, node.name) for layer in placed.layers]
    _keep_scalars(network)
    network.add_module(_GRIDS, nn.ModuleDict())
    for name, grid in placed.tensors.items():
        network.get_submodule(_GRIDS).add_module(name, LearntGrid(grid))
        _round_tensor(network.graph, tensors[name], name)
    for layer, traced in zip(placed.layers, layers, strict=True):
        if layer.weight is not None:
            _round_weight(network.graph, traced, layer.reads[0])
    network.graph.lint()
    network.recompile()
    _check_batches(network, node, system)
    return network


def grids_of(network: nn.Module) -> dict[str, LearntGrid]:
    """The grids of a network by the name of the tensor."""
    return {
        name.removeprefix(f"{_GRIDS}."): module
        for name, module in network.named_modules()
        if isinstance(module, LearntGrid)
    }


@torch.no_grad()
def weights_of(network: fx.GraphModule) -> dict[str, Tensor]:
    """The weights and biases of layers, by their name in the ONNX file.

    Biases of quantised layers are rounded, see `rounded_bias`; weights are rounded by calibration.
    """
    given: dict[str, Tensor] = {}
    parameters = dict(network.named_parameters())
    constants = {**parameters, **dict(network.named_buffers())}
    for at in network.graph.nodes:
        if at.target in parameters and any(user.target is not rounded_bias for user in at.users):
            given[at.target] = parameters[at.target].detach()
        elif at.target is rounded_bias:
            bias, weight = (constants[part.target] for part in at.args[:2])
            step = network.get_submodule(str(at.args[2].target))
            given[bias_of(at.args[1].target)] = rounded_bias(bias, weight, step())
    return given


def _traced(node: Node, system: System) -> fx.GraphModule:
    """The node's graph, from the normalised image on, for batches of any size."""
    exported = torch.export.export(ExportedNode(node).eval(), example_inputs(system, node))
    module = exported.run_decompositions({}).module()
    graph: fx.Graph = module.graph
    graph.set_codegen(fx.graph.CodeGen())  # plain arguments and outputs, shapes not checked
    placeholders = [at for at in graph.nodes if at.op == "placeholder"]
    normalised = [at for at in graph.nodes if _is_image_input(at)]
    if normalised:
        normalised[-1].replace_all_uses_with(next(p for p in placeholders if _feeds(p, normalised)))
    for at in reversed(graph.nodes):
        if at.target is _ATEN._assert_tensor_metadata.default or (
            at.op == "call_module" and not at.users
        ):
            graph.erase_node(at)
        elif at.target is _ATEN.view.default and at.args[1][0] == 1:
            at.target = _ATEN.reshape.default  # also where a map lies channels last
            at.args = (at.args[0], [-1, *at.args[1][1:]])
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)


def _is_image_input(at: fx.Node) -> bool:
    stack = at.meta.get("nn_module_stack", {}).values()
    return at.op == "call_function" and any(path == "image_input" for path, _ in stack)


def _feeds(placeholder: fx.Node, readers: list[fx.Node]) -> bool:
    return any(user in readers for user in placeholder.users)


def _by_name(graph: fx.Graph, placed: NetworkPlacement) -> dict[str, fx.Node]:
    """The nodes by the name of their tensor in the ONNX file."""
    (output,) = (at for at in graph.nodes if at.op == "output")
    placeholders = [at for at in graph.nodes if at.op == "placeholder"]
    return {
        **{at.name: at for at in graph.nodes if at.op == "call_function"},
        **dict(zip(placed.inputs, placeholders, strict=True)),
        **dict(zip(placed.outputs, output.args[0], strict=True)),
    }


def _find(
    graph: fx.Graph, layer: PlacedLayer, tensors: Mapping[str, fx.Node], network: str
) -> fx.Node:
    reads = [tensors.get(name) for name in layer.reads]
    for at in graph.nodes:
        if at.target is not _OPERATORS.get(layer.op) or list(at.args[: len(reads)]) != reads:
            continue
        if layer.weight is None or at.args[1].target == layer.weight:
            found: fx.Node = at
            return found
    what = layer.weight or " + ".join(layer.reads)
    if layer.op not in _OPERATORS:
        raise UsageError(
            f"{network}: {what} is a {layer.op}, whose rounding cannot be trained; leave it in "
            "float by `ckd-calibrate placement --float`"
        )
    raise UsageError(f"{network}: the run has no layer {what} as placed; {_REMEDY}")


def _keep_scalars(network: fx.GraphModule) -> None:
    """Make buffers of parameters that anything but a layer reads, in place.

    Such are an attention's delta, and the weights of the last layer where class maps are computed
    of them too. What is computed of constants alone, as where a file in half precision casts one,
    the exporter computes, and the constant's own name is gone.
    """
    layers = (_ATEN.conv2d.default, _ATEN.linear.default)
    kept = {
        at.target
        for at in network.graph.nodes
        if at.op == "get_attr"
        for user in at.users
        if user.target not in layers or at not in user.args[1:3]
    }
    for name, parameter in list(network.named_parameters()):
        if name in kept:
            path, _, leaf = name.rpartition(".")
            delattr(network.get_submodule(path), leaf)
            network.get_submodule(path).register_buffer(leaf, parameter.detach())


def _round_weight(graph: fx.Graph, layer: fx.Node, read: str) -> None:
    """Weight and bias of a layer, the bias by the steps of what the layer reads."""
    weight, bias = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    with graph.inserting_before(layer):
        layer.update_arg(1, graph.call_function(rounded_weight, (weight,)))
        if bias is not None:
            scale = graph.call_module(f"{_GRIDS}.{read}.step")
            layer.update_arg(2, graph.call_function(rounded_bias, (bias, weight, scale)))


def _round_tensor(graph: fx.Graph, tensor: fx.Node, name: str) -> None:
    """All that read the tensor get the rounded one, also outside of this network."""
    after = tensor
    while tensor.op == "placeholder" and after.next.op == "placeholder":
        after = after.next
    with graph.inserting_after(after):
        rounded = graph.call_module(f"{_GRIDS}.{name}", (tensor,))
    tensor.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)


@torch.no_grad()
def _check_batches(network: fx.GraphModule, node: Node, system: System) -> None:
    """Raise `UsageError` if the traced network does not give each image of a batch its own answer.

    It was traced with one image, and a part of it may have kept that number.
    """
    shapes = {**tensor_shapes(system), IMAGE: (1, 3, system.image_size, system.image_size)}
    numbers = torch.Generator().manual_seed(0)
    batch = [torch.randn(2, *shapes[name][1:], generator=numbers) for name in node.inputs]
    grids = grids_of(network).values()
    for grid in grids:
        grid.observe()  # unrounded, so that sums in another order make no step
    try:
        both = network(*batch)
        second = network(*(tensor[1:] for tensor in batch))
        same = all(
            torch.allclose(of_two[1:], of_one, rtol=1e-2, atol=1e-3 * float(of_one.abs().max()))
            for of_two, of_one in zip(both, second, strict=True)
        )
    except RuntimeError:
        same = False
    if not same:
        raise UsageError(
            f"{node.name}: its graph takes one image at a time, so it cannot be trained; leave it "
            "in float by `ckd-calibrate placement --float`"
        )
