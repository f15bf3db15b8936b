"""A system: sub-networks joined by named tensors.

The graph is the one thing that every stage of the project shares. Training runs it and freezes what
lies upstream, export turns each node into a file, the runtime loads one engine per node and hands
each tensor from its producer to its consumers.
"""

import copy
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.contract.manifest import IMAGE, ResultSpec
from ckd.train.networks.blocks import ClassHead
from ckd.train.networks.image_input import ImageInput

#: Before the names of a teacher's nodes and tensors.
TEACHER = "teacher_"
#: The tensor that `System.explained` adds, and the one that it can add.
CLASS_MAP = "class_map"
FEATURES = "features"


@dataclass(frozen=True, slots=True)
class Node:
    """One sub-network: ``outputs = module(*inputs)``, all named. Output names are unique.

    The input "image" comes from outside; modules receive it normalised, [B, 3, H, W].
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class System(nn.Module):
    """A directed graph of sub-networks, run in the order of ``nodes``.

    Args:
        name: of the system, such as "ckdnet".
        nodes: in an order in which every input precedes its use.
        labels: class names in the order of the class logits.
        tasks: labels whose one-against-rest AUCs are averaged into the headline figure.
        image_size: side of the square network input in pixels.
        results: which tensors are answers.

    Attributes:
        mask_threshold: probability above which a pixel is lesion, see
            `ckd.train.operating_point`.

    Raises:
        ValueError: an input that nothing produces, or a tensor produced twice.
    """

    def __init__(
        self,
        name: str,
        nodes: Sequence[Node],
        labels: tuple[str, ...],
        tasks: tuple[str, ...],
        image_size: int,
        results: ResultSpec,
    ) -> None:
        super().__init__()
        self.name = name
        self.nodes = tuple(nodes)
        self.labels = labels
        self.tasks = tasks
        self.image_size = image_size
        self.results = results
        self.mask_threshold = 0.5
        self.image_input = ImageInput()
        self.networks = nn.ModuleDict({node.name: node.module for node in nodes})
        _check_wiring(self.nodes, results)

    def forward(self, image_BHWC: Tensor, wanted: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the nodes that ``wanted`` needs (by default all of the system's results).

        Args:
            image_BHWC: uint8 RGB at ``image_size``.
            wanted: tensor names.

        Returns:
            Every tensor that was computed, by name.
        """
        tensors = {IMAGE: self.image_input(image_BHWC)}
        for node in self.needed(wanted or self.results.names()):
            run_node(node, tensors)
        return tensors

    def needed(self, wanted: Collection[str]) -> tuple[Node, ...]:
        """The nodes without which the wanted tensors cannot be had, in running order."""
        missing = set(wanted) - {out for node in self.nodes for out in node.outputs}
        if missing:
            raise UsageError(f"{self.name} has no tensor named {', '.join(sorted(missing))}")
        open_names, chosen = set(wanted), []
        for node in reversed(self.nodes):
            if open_names & set(node.outputs):
                chosen.append(node)
                open_names |= set(node.inputs)
        return tuple(reversed(chosen))

    def digest(self, names: Collection[str] | None = None) -> str:
        """Identity of the weights and running statistics of the named nodes, by default of all."""
        digest = hashlib.sha256()
        for node in self.nodes:
            if names is None or node.name in names:
                for name, tensor in node.module.state_dict().items():
                    digest.update(f"{node.name}.{name}".encode())
                    whole = tensor.detach().cpu().contiguous()
                    digest.update(whole.flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def deployed(self) -> "System":
        """The same system without what only training needs, sharing its weights.

        Teachers, and tensors that are neither an answer nor taken by a remaining node, are gone.
        """
        answers = set(self.results.names())
        kept = self.needed(answers)
        taken = answers | {name for node in kept for name in node.inputs}
        nodes = []
        for node in kept:
            outputs = tuple(name for name in node.outputs if name in taken)
            if outputs != node.outputs:
                module = _Fused((node,), node.inputs, outputs)
                node = Node(node.name, module, node.inputs, outputs)
            nodes.append(node)
        return self._with(nodes)

    def prefixed(self, prefix: str) -> "System":
        """The same system with ``prefix`` before the names of its nodes and tensors."""

        def renamed(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(name if name == IMAGE else prefix + name for name in names)

        nodes = [
            Node(prefix + node.name, node.module, renamed(node.inputs), renamed(node.outputs))
            for node in self.nodes
        ]
        return self._with(nodes, self.results.renamed(lambda name: prefix + name))

    def teacher(self) -> "System":
        """The teacher inside a system that is distilled, sharing its weights.

        Raises:
            UsageError: it has no teacher.
        """
        made = {name for node in self.nodes for name in node.outputs}
        results = self.results.renamed(
            lambda name: TEACHER + name if TEACHER + name in made else None
        )
        if not results.names():
            raise UsageError(f"{self.name} has no teacher in it")
        return self._with(self.nodes, results).deployed()

    @property
    def class_head(self) -> ClassHead | None:
        """The head that makes the class logits; None where there is none."""
        return _head_of(self.nodes, self.results.class_logits)

    def explained(self, *, features: bool = False) -> "System":
        """A copy that also answers with class maps, see `ClassHead`.

        With ``features`` it also computes the tensor "features" [B, C], what the head's linear
        layer takes. That is no answer: it is for looking at a trained system.

        Raises:
            UsageError: no `ClassHead` makes the class logits.
        """
        copied = copy.deepcopy(self)
        head, logits = copied.class_head, self.results.class_logits
        if head is None or logits is None:
            raise UsageError(f"{self.name} has no classifier whose maps could explain it")
        # Another may learn from the features already, and a teacher's have another name.
        num_given = head.gives_map + head.gives_features
        head.gives_map = True
        head.gives_features |= features
        added = (CLASS_MAP, FEATURES) if head.gives_features else (CLASS_MAP,)
        nodes = _with_tensors_after(copied.nodes, logits, added, num_given)
        made = copied._with(nodes, replace(self.results, class_map=CLASS_MAP))
        return made if features else made.deployed()

    def _with(self, nodes: Sequence[Node], results: ResultSpec | None = None) -> "System":
        made = System(
            self.name, nodes, self.labels, self.tasks, self.image_size, results or self.results
        )
        made.mask_threshold = self.mask_threshold
        return made.train(self.training)

    def merged(self, names: Collection[str], into: str) -> "System":
        """The same system with several nodes fused into one, sharing its weights.

        Tensors that only pass between the fused nodes vanish from the graph.
        """
        inside = [node for node in self.nodes if node.name in names]
        unknown = set(names) - {node.name for node in inside}
        if unknown:
            raise UsageError(
                f"{self.name} has no node named {', '.join(sorted(unknown))}; "
                f"expected {', '.join(node.name for node in self.nodes)}"
            )
        outside = [node for node in self.nodes if node.name not in names]
        made = [out for node in inside for out in node.outputs]
        kept = set(self.results.names()) | {name for node in outside for name in node.inputs}
        inputs = dict.fromkeys(i for node in inside for i in node.inputs if i not in made)
        fused = Node(
            into,
            _Fused(inside, tuple(inputs), tuple(out for out in made if out in kept)),
            tuple(inputs),
            tuple(out for out in made if out in kept),
        )
        # The fused node runs as soon as everything it needs is known.
        before = [at for at, node in enumerate(outside, 1) if set(node.outputs) & set(inputs)]
        at = max(before, default=0)
        nodes = [*outside[:at], fused, *outside[at:]]
        try:
            return self._with(nodes)
        except ValueError as error:
            raise UsageError(f"cannot fuse {', '.join(names)}: {error}") from error


def run_node(node: Node, tensors: dict[str, Tensor]) -> None:
    """Run one node on the named tensors and add its outputs to them."""
    made = node.module(*(tensors[name] for name in node.inputs))
    made = (made,) if isinstance(made, Tensor) else made
    tensors.update(zip(node.outputs, made, strict=True))


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


def _head_of(nodes: Sequence[Node], logits: str | None) -> ClassHead | None:
    for node in nodes:
        if logits in node.outputs:
            if isinstance(node.module, _Fused):
                return _head_of(node.module.nodes, logits)
            heads = [part for part in node.module.modules() if isinstance(part, ClassHead)]
            return heads[-1] if heads else None
    return None


def _with_tensors_after(
    nodes: Sequence[Node], name: str, added: tuple[str, ...], num_given: int
) -> tuple[Node, ...]:
    """The nodes, whose modules now give the added tensors after the named one.

    They take the place of the ``num_given`` tensors that its head gave there already.
    """
    renamed = []
    for node in nodes:
        if name in node.outputs:
            at = node.outputs.index(name) + 1
            module, others = node.module, node.outputs[at + num_given :]
            if isinstance(module, _Fused):
                parts = _with_tensors_after(module.nodes, name, added, num_given)
                made = {out for part in parts for out in part.outputs}.difference(added)
                others = tuple(other for other in node.outputs[at:] if other in made)
            outputs = (*node.outputs[:at], *added, *others)
            if isinstance(module, _Fused):
                module = _Fused(parts, node.inputs, outputs)
            node = Node(node.name, module, node.inputs, outputs)
        renamed.append(node)
    return tuple(renamed)


@torch.no_grad()
def tensor_shapes(system: System) -> Mapping[str, tuple[int, ...]]:
    """Shape of every tensor for a batch of one, measured by running the system once."""
    modes = {module: module.training for module in system.modules()}
    device = next(system.parameters()).device
    side = system.image_size
    tensors = system.eval()(torch.zeros(1, side, side, 3, dtype=torch.uint8, device=device))
    for module, mode in modes.items():
        module.training = mode
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _check_wiring(nodes: Sequence[Node], results: ResultSpec) -> None:
    known = {IMAGE}
    names = [node.name for node in nodes]
    if len(set(names)) < len(names):
        raise ValueError(f"two nodes are named {max(names, key=names.count)}")
    for node in nodes:
        if missing := set(node.inputs) - known:
            raise ValueError(f"{node.name}: nothing produces {', '.join(sorted(missing))}")
        if twice := set(node.outputs) & known:
            raise ValueError(f"{node.name}: {', '.join(sorted(twice))} is already produced")
        known |= set(node.outputs)
    if missing := set(results.names()) - known:
        raise ValueError(f"no node produces the result {', '.join(sorted(missing))}")
