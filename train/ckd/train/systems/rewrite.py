"""Systems derived from a system: its deployed part, its teacher, fused nodes, with explanations.

A derived system shares the weights of the original.
"""

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.blocks import ClassHead
from ckd.train.systems.graph import Node, System, run_node

#: Prefix of the names of a teacher's nodes and tensors.
TEACHER = "teacher_"
#: The tensor that `explained` adds, and the one that `deployed` adds, see `OutputSpec`.
CLASS_MAP = "class_map"
FEATURES = "features"


def deployed(system: System) -> System:
    """The same system without the parts that only training needs, and with the features as output.

    Teachers are removed, and tensors that are neither an output of the system nor an input of a
    remaining node. If a `ClassHead` computes the class logits, the tensor "features" [B, C], the
    input of its linear layer, becomes an output.
    """
    answers = set(system.outputs.names())
    kept = system.needed(answers)
    used = answers | {name for node in kept for name in node.inputs}
    nodes = []
    for node in kept:
        outputs = tuple(name for name in node.outputs if name in used)
        if outputs != node.outputs:
            module = _Fused((node,), node.inputs, outputs)
            node = Node(node.name, module, node.inputs, outputs)
        nodes.append(node)
    cut = system.with_nodes(nodes)
    has_all = system.outputs.features is not None or class_head(cut) is None
    return cut if has_all else _opened(cut, class_map=False)


def merged(system: System, names: Collection[str], into: str) -> System:
    """The same system with several nodes fused into one.

    Tensors that pass only between the fused nodes are no longer part of the graph.

    Raises:
        UsageError: the system has no such node, or a node that runs between them is not named.
    """
    inside = [node for node in system.nodes if node.name in names]
    unknown = set(names) - {node.name for node in inside}
    if unknown:
        raise UsageError(
            f"{system.name} has no node named {', '.join(sorted(unknown))}; "
            f"expected {', '.join(node.name for node in system.nodes)}"
        )
    outside = [node for node in system.nodes if node.name not in names]
    computed = [out for node in inside for out in node.outputs]
    kept = set(system.outputs.names()) | {name for node in outside for name in node.inputs}
    inputs = tuple(dict.fromkeys(i for node in inside for i in node.inputs if i not in computed))
    outputs = tuple(out for out in computed if out in kept)
    fused = Node(into, _Fused(inside, inputs, outputs), inputs, outputs)
    # The fused node runs as soon as all its inputs are computed.
    before = [at for at, node in enumerate(outside, 1) if set(node.outputs) & set(inputs)]
    at = max(before, default=0)
    try:
        return system.with_nodes([*outside[:at], fused, *outside[at:]])
    except ValueError as error:
        raise UsageError(f"cannot fuse {', '.join(names)}: {error}") from error


def prefixed(system: System, prefix: str) -> System:
    """The same system with ``prefix`` before the names of its nodes and tensors."""

    def renamed(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name if name == IMAGE else prefix + name for name in names)

    nodes = [
        Node(prefix + node.name, node.module, renamed(node.inputs), renamed(node.outputs))
        for node in system.nodes
    ]
    return system.with_nodes(nodes, system.outputs.renamed(lambda name: prefix + name))


def has_teacher(system: System) -> bool:
    """Whether the system contains a teacher that its outputs learn from."""
    return bool(_teacher_outputs(system).names())


def teacher(system: System) -> System:
    """The teacher inside a system that is distilled.

    Raises:
        UsageError: the system has no teacher.
    """
    if not has_teacher(system):
        raise UsageError(f"{system.name} has no teacher in it")
    return deployed(system.with_nodes(system.nodes, _teacher_outputs(system)))


def class_head(system: System) -> ClassHead | None:
    """The head that computes the class logits, or None if no `ClassHead` does."""
    producer = _producer(system.nodes, system.outputs.class_logits)
    if producer is None:
        return None
    heads = [part for part in producer.module.modules() if isinstance(part, ClassHead)]
    return heads[-1] if heads else None


def explained(system: System) -> System:
    """The deployed system, with class maps among its outputs, see `ClassHead`.

    Raises:
        UsageError: no `ClassHead` computes the class logits.
    """
    if class_head(system) is None:
        raise UsageError(f"{system.name} has no classifier whose maps could explain it")
    return _opened(deployed(system), class_map=True)


def _opened(system: System, *, class_map: bool) -> System:
    """The same system with the features, and on request class maps, among its outputs.

    Its modules are copies, since a module cannot give two tensors in one system and three in
    another; weights and running statistics are the same tensors.
    """
    shared = {id(tensor): tensor for tensor in (*system.parameters(), *system.buffers())}
    opened = copy.deepcopy(system, memo=dict[int, Any](shared))
    head, logits = class_head(opened), system.outputs.class_logits
    producer = _producer(opened.nodes, logits)
    assert head is not None
    assert logits is not None
    assert producer is not None
    # The head may give features already, for another network to learn from; a teacher's have a
    # name with a prefix.
    at = producer.outputs.index(logits) + 1
    replaced = producer.outputs[at : at + head.gives_map + head.gives_features]
    head.gives_map |= class_map
    head.gives_features = True
    added = (CLASS_MAP, FEATURES) if head.gives_map else (FEATURES,)
    nodes = _with_tensors_after(opened.nodes, logits, added, replaced)
    outputs = replace(system.outputs, features=FEATURES)
    outputs = replace(outputs, class_map=CLASS_MAP) if class_map else outputs
    return opened.with_nodes(nodes, outputs)


def _teacher_outputs(system: System) -> OutputSpec:
    names = {name for node in system.nodes for name in node.outputs}
    return system.outputs.renamed(lambda name: TEACHER + name if TEACHER + name in names else None)


class _Fused(nn.Module):
    """Several nodes run as one module."""

    def __init__(
        self, nodes: Sequence[Node], inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.parts = nn.ModuleDict({node.name: node.module for node in nodes})
        self.inputs, self.outputs = inputs, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs and outputs in the order of the fused node's names."""
        tensors = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            run_node(node, tensors)
        return tuple(tensors[name] for name in self.outputs)


def _producer(nodes: Sequence[Node], name: str | None) -> Node | None:
    """The node whose own module computes the tensor; fused nodes are searched too."""
    for node in nodes:
        if name in node.outputs:
            return _producer(node.module.nodes, name) if isinstance(node.module, _Fused) else node
    return None


def _with_tensors_after(
    nodes: Sequence[Node], name: str, added: tuple[str, ...], replaced: tuple[str, ...]
) -> tuple[Node, ...]:
    """The nodes; the producer of ``name`` gives ``added`` after it instead of ``replaced``."""
    renamed = []
    for node in nodes:
        if name in node.outputs:
            at = node.outputs.index(name) + 1
            following = (output for output in node.outputs[at:] if output not in replaced)
            outputs = (*node.outputs[:at], *added, *following)
            module = node.module
            if isinstance(module, _Fused):
                parts = _with_tensors_after(module.nodes, name, added, replaced)
                module = _Fused(parts, node.inputs, outputs)
            node = Node(node.name, module, node.inputs, outputs)
        renamed.append(node)
    return tuple(renamed)
