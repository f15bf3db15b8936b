"""A system in which its quantised networks learn from their own float form."""

from collections.abc import Mapping

import torch
from torch import fx

from ckd.console import Progress
from ckd.contract.errors import UsageError
from ckd.contract.placement import Placement
from ckd.data.samples import SampleSet
from ckd.train.evaluation.scoring import PlainImages
from ckd.train.folds import folded
from ckd.train.losses import Loss, SoftLabels, SoftMask
from ckd.train.quantised.network import grids_of, quantised_network
from ckd.train.recipes.stage import Schedule, Stage
from ckd.train.systems.graph import Node, System
from ckd.train.systems.rewrite import TEACHER, prefixed

#: Name of the one stage; its settings are changed by ``--set stages.quantised.NAME=VALUE``.
STAGE = "quantised"
#: Images that the grids start from, and how many of them run at once.
NUM_STARTING, _BATCH = 32, 8


def with_teacher(system: System, placement: Placement) -> System:
    """The quantised networks of a system, and before them a float copy that teaches them.

    All are folded as export folds them. A network of which nothing is placed stays as it is. The
    copy's nodes and tensors have the prefix of teachers.

    Raises:
        UsageError: the placement is of another system.
    """
    student = folded(system)
    names = [node.name for node in student.nodes]
    if set(names) != set(placement.networks):
        raise UsageError(
            f"the placement is of {', '.join(placement.networks)}, and the run trains "
            f"{', '.join(names)}; export it without --merge for the placement"
        )
    nodes = []
    for node in student.nodes:
        placed = placement.networks[node.name]
        module = quantised_network(node, student, placed) if placed.layers else node.module
        nodes.append(Node(node.name, module, node.inputs, node.outputs))
    teacher = prefixed(folded(system), TEACHER)
    return student.with_nodes([*teacher.nodes, *nodes])


def quantised_stage(system: System, placement: Placement) -> Stage:
    """How the quantised networks of a system are trained, unless it is set otherwise.

    All of them at once: what rounding in an early network does is seen in the answers of the later
    ones, which can make up for it. Both see the same augmented image; the losses compare answers
    and need no truth.
    """
    outputs = system.outputs
    losses: list[Loss] = []
    if (labels := outputs.class_logits) is not None:
        teacher = TEACHER + labels
        losses.append(
            SoftLabels(name="labels", student=labels, teacher=teacher, temperature=2.0)
            if outputs.exclusive
            else SoftMask(name="labels", student=labels, teacher=teacher)
        )
    for name in (outputs.mask_logits, outputs.coarse_logits):
        if name is not None:
            losses.append(SoftMask(name=name, student=name, teacher=TEACHER + name))
    return Stage(
        name=STAGE,
        nodes=tuple(name for name, placed in placement.networks.items() if placed.layers),
        losses=tuple(losses),
        epochs=4,
        batch_size=16,
        lr=1e-4,
        weight_decay=0.0,
        clip_norm=5.0,
        schedule=Schedule(kind="cosine", floor=1e-6),
        select="last",
    )


@torch.no_grad()
def start_grids(system: System, samples: SampleSet, progress: Progress | None = None) -> None:
    """Let every grid reach up to the largest number that its tensor has, on average over images.

    Extremes of single images are cut off; training moves the ranges from there. Images are taken at
    even distances, and are not changed.
    """
    stride = max(1, len(samples) // NUM_STARTING)
    images = PlainImages(samples, system.image_size)
    chosen = list(range(0, len(samples), stride))[:NUM_STARTING]
    system.eval()
    for at in range(0, len(chosen), _BATCH):
        batch = [images[index]["image"] for index in chosen[at : at + _BATCH]]
        system(torch.stack(batch))
        if progress is not None:
            progress(min(at + _BATCH, len(chosen)), len(chosen))
    for network in quantised_networks(system).values():
        for grid in grids_of(network).values():
            grid.start(sum(grid.observed) / len(grid.observed))


def quantised_networks(system: System) -> Mapping[str, fx.GraphModule]:
    """The quantised networks of `with_teacher`, by name."""
    return {
        node.name: node.module
        for node in system.nodes
        if isinstance(node.module, fx.GraphModule) and grids_of(node.module)
    }
