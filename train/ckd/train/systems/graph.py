"""A system: sub-networks joined by named tensors.

Every part of the project works on this graph. Training runs it and freezes the nodes upstream of a
stage, export writes a file for each node, and the runtime loads an engine for each node and passes
each tensor from its producer to its consumers.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE, check_wiring
from ckd.train.networks.image_input import ImageInput


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
        outputs: which tensors are the outputs of the system.

    Attributes:
        mask_threshold: probability above which a pixel is lesion, see
            `ckd.train.evaluation.mask_threshold`.

    Raises:
        ValueError: no node produces an input, or two nodes produce the same tensor.
    """

    def __init__(
        self,
        name: str,
        nodes: Sequence[Node],
        labels: tuple[str, ...],
        tasks: tuple[str, ...],
        image_size: int,
        outputs: OutputSpec,
    ) -> None:
        super().__init__()
        self.name = name
        self.nodes = tuple(nodes)
        self.labels = labels
        self.tasks = tasks
        self.image_size = image_size
        self.outputs = outputs
        self.mask_threshold = 0.5
        self.image_input = ImageInput()
        self.networks = nn.ModuleDict({node.name: node.module for node in nodes})
        check_wiring(self.nodes, outputs.names())

    def forward(self, image_BHWC: Tensor, names: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the nodes that the named tensors need (by default the system's outputs).

        Args:
            image_BHWC: uint8 RGB at ``image_size``.
            names: of tensors.

        Returns:
            Every tensor that was computed, by name.
        """
        tensors = {IMAGE: self.image_input(image_BHWC)}
        for node in self.needed(names or self.outputs.names()):
            run_node(node, tensors)
        return tensors

    def needed(self, names: Collection[str]) -> tuple[Node, ...]:
        """The nodes that the named tensors are computed by, in running order.

        Raises:
            UsageError: no node produces one of the tensors.
        """
        missing = set(names) - {out for node in self.nodes for out in node.outputs}
        if missing:
            raise UsageError(f"{self.name} has no tensor named {', '.join(sorted(missing))}")
        open_names, chosen = set(names), []
        for node in reversed(self.nodes):
            if open_names & set(node.outputs):
                chosen.append(node)
                open_names |= set(node.inputs)
        return tuple(reversed(chosen))

    def digest(self, names: Collection[str] | None = None) -> str:
        """SHA-256 of the weights and running statistics of the named nodes, by default of all."""
        digest = hashlib.sha256()
        for node in self.nodes:
            if names is None or node.name in names:
                for name, tensor in node.module.state_dict().items():
                    digest.update(f"{node.name}.{name}".encode())
                    values = tensor.detach().cpu().contiguous()
                    digest.update(values.flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def states(self, names: Collection[str]) -> dict[str, dict[str, Tensor]]:
        """The weights of the named nodes as they are, not copied, by node and key."""
        return {name: dict(self.networks[name].state_dict()) for name in names}

    def with_nodes(self, nodes: Sequence[Node], outputs: OutputSpec | None = None) -> "System":
        """The same system with other nodes, and with other outputs if these are given."""
        system = System(
            self.name, nodes, self.labels, self.tasks, self.image_size, outputs or self.outputs
        )
        system.mask_threshold = self.mask_threshold
        return system.train(self.training)


def run_node(node: Node, tensors: dict[str, Tensor]) -> None:
    """Run one node on the named tensors and add its outputs to them."""
    outputs = node.module(*(tensors[name] for name in node.inputs))
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    tensors.update(zip(node.outputs, outputs, strict=True))


@torch.no_grad()
def tensor_shapes(system: System) -> Mapping[str, tuple[int, ...]]:
    """Shape of every tensor for a batch of one image; the system runs once to find out."""
    modes = {module: module.training for module in system.modules()}
    device = next(system.parameters()).device
    side = system.image_size
    tensors = system.eval()(torch.zeros(1, side, side, 3, dtype=torch.uint8, device=device))
    for module, mode in modes.items():
        module.training = mode
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
