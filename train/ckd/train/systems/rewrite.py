"""Systems made of systems: what is deployed of one, its teacher, its nodes fused, its explanation.

All share the weights of what they are made of, but for `explained`, which is a copy.
"""

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.blocks import ClassHead
from ckd.train.systems.graph import Node, System, run_node

#: Before the names of a teacher's nodes and tensors.
TEACHER = "teacher_"
#: The tensor that `explained` adds, and the one that it can add.
CLASS_MAP = "class_map"
FEATURES = "features"


def deployed(system: System) -> System:
    """The same system without what only training needs.

    Teachers, and tensors that are neither an answer nor taken by a remaining node, are gone.
    """
    answers = set(system.outputs.names())
    kept = system.needed(answers)
    taken = answers | {name for node in kept for name in node.inputs}
    nodes = []
    for node in kept:
        outputs = tuple(name for name in node.outputs if name in taken)
        if outputs != node.outputs:
            module = _Fused((node,), node.inputs, outputs)
            node = Node(node.name, module, node.inputs, outputs)
        nodes.append(node)
    return system.with_nodes(nodes)


def merged(system: System, names: Collection[str], into: str) -> System:
    """The same system with several nodes fused into one.

    Tensors that only pass between the fused nodes vanish from the graph.

    Raises:
        UsageError: there is no such node, or one between them is not among them.
    """
    inside = [node for node in system.nodes if node.name in names]
    unknown = set(names) - {node.name for node in inside}
    if unknown:
        raise UsageError(
            f"{system.name} has no node named {', '.join(sorted(unknown))}; "
            f"expected {', '.join(node.name for node in system.nodes)}"
        )
    outside = [node for node in system.nodes if node.name not in names]
    made = [out for node in inside for out in node.outputs]
    kept = set(system.outputs.names()) | {name for node in outside for name in node.inputs}
    inputs = tuple(dict.fromkeys(i for node in inside for i in node.inputs if i not in made))
    outputs = tuple(out for out in made if out in kept)
    fused = Node(into, _Fused(inside, inputs, outputs), inputs, outputs)
    # The fused node runs as soon as everything it needs is known.
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
    """Whether a teacher is in it, whose answers those of the system learn from."""
    return bool(_teacher_results(system).names())


def teacher(system: System) -> System:
    """The teacher inside a system that is distilled.

    Raises:
        UsageError: it has no teacher.
    """
    if not has_teacher(system):
        raise UsageError(f"{system.name} has no teacher in it")
    return deployed(system.with_nodes(system.nodes, _teacher_results(system)))


def class_head(system: System) -> ClassHead | None:
    """The head that makes the class logits; None where there is none."""
    maker = _maker(system.nodes, system.outputs.class_logits)
    if maker is None:
        return None
    heads = [part for part in maker.module.modules() if isinstance(part, ClassHead)]
    return heads[-1] if heads else None


def explained(system: System, *, features: bool = False) -> System:
    """A copy that also answers with class maps, see `ClassHead`.

    With ``features`` it also computes the tensor "features" [B, C], what the head's linear layer
    takes. That is no answer: it is for looking at a trained system.

    Raises:
        UsageError: no `ClassHead` makes the class logits.
    """
    copied = copy.deepcopy(system)
    head, logits = class_head(copied), system.outputs.class_logits
    maker = _maker(copied.nodes, logits)
    if head is None or logits is None or maker is None:
        raise UsageError(f"{system.name} has no classifier whose maps could explain it")
    # Another may learn from the features already, in a teacher under a name with a prefix.
    at = maker.outputs.index(logits) + 1
    replaced = maker.outputs[at : at + head.gives_map + head.gives_features]
    head.gives_map = True
    head.gives_features |= features
    added = (CLASS_MAP, FEATURES) if head.gives_features else (CLASS_MAP,)
    nodes = _with_tensors_after(copied.nodes, logits, added, replaced)
    made = copied.with_nodes(nodes, replace(system.outputs, class_map=CLASS_MAP))
    return made if features else deployed(made)


def _teacher_results(system: System) -> OutputSpec:
    made = {name for node in system.nodes for name in node.outputs}
    return system.outputs.renamed(lambda name: TEACHER + name if TEACHER + name in made else None)


class _Fused(nn.Module):
    """Several nodes run as one module."""

    def __init__(
        self, nodes: Sequence[Node], inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.parts = nn.ModuleDict({node.name: node.module for node in nodes})
        self.inputs, self.outputs = inputs, outputs

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Inputs and outputs in the order of the fused node's names."""
        tensors = dict(zip(self.inputs, given, strict=True))
        for node in self.nodes:
            run_node(node, tensors)
        return tuple(tensors[name] for name in self.outputs)


def _maker(nodes: Sequence[Node], name: str | None) -> Node | None:
    """The node whose own module makes the tensor, inside fused nodes too."""
    for node in nodes:
        if name in node.outputs:
            return _maker(node.module.nodes, name) if isinstance(node.module, _Fused) else node
    return None


def _with_tensors_after(
    nodes: Sequence[Node], name: str, added: tuple[str, ...], replaced: tuple[str, ...]
) -> tuple[Node, ...]:
    """The nodes, whose modules now give ``added`` after the named tensor, for ``replaced``."""
    renamed = []
    for node in nodes:
        if name in node.outputs:
            at = node.outputs.index(name) + 1
            others = (other for other in node.outputs[at:] if other not in replaced)
            outputs = (*node.outputs[:at], *added, *others)
            module = node.module
            if isinstance(module, _Fused):
                parts = _with_tensors_after(module.nodes, name, added, replaced)
                module = _Fused(parts, node.inputs, outputs)
            node = Node(node.name, module, node.inputs, outputs)
        renamed.append(node)
    return tuple(renamed)
