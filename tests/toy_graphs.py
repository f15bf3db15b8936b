"""Graphs that are computed in no time, for tests of `ckd.train.systems`."""

import torch
from torch import Tensor, nn

from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import Node, System


class Weigh(nn.Module):
    """A weighted mean of its inputs' means, once for each output."""

    def __init__(self, *factors: float, outputs: int = 1) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(factors))
        self.bn = nn.BatchNorm1d(1)
        self.outputs = outputs
        self.calls = 0

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.calls += 1
        means = torch.stack([x.flatten(1).mean(dim=1) for x in given], dim=1)
        made = [self.bn((means @ self.factors)[:, None]) + i for i in range(self.outputs)]
        return made[0] if self.outputs == 1 else tuple(made)


def chain(**nodes: Node) -> tuple[Node, ...]:
    """A small cascade: a -> b -> c, and d beside them, which feeds c."""
    default = (
        Node("a", Weigh(1.0, outputs=2), (IMAGE,), ("a0", "a1")),
        Node("b", Weigh(2.0, 0.5), (IMAGE, "a1"), ("b0",)),
        Node("d", Weigh(3.0), (IMAGE,), ("d0",)),
        Node("c", Weigh(1.5, -1.0), ("b0", "d0"), ("c0",)),
    )
    return tuple(nodes.get(node.name, node) for node in default)


def system(
    nodes: tuple[Node, ...] | None = None,
    outputs: OutputSpec | None = None,
) -> System:
    return System(
        "toy",
        chain() if nodes is None else nodes,
        ISIC2017,
        ("MEL",),
        8,
        outputs or OutputSpec("b0", "c0", "a0"),
    ).eval()


def small_ckdnet() -> System:
    return CkdNet(
        backbone="mobilenet_v2",
        rootseg_width=4,
        rootseg_low_width=4,
        entangle_widths=(4, 5, 6, 7),
        decoder_widths=(8, 7, 6, 5, 4),
    ).build(ISIC2017, ("MEL",), 64, None)
