"""Members of a system: several sets of weights of the same networks, whose answers are averaged.

The members run as copies of the networks in the same graph. They read what the networks before them
give, which they share, and their averaged answers are tensors of their own:

    image ─► rootseg ─┬─► cls ──────────► logits
                      ├─► member0_cls ──► member0_logits ─┐
                      └─► member1_cls ──► member1_logits ─┴─► mean ──► members_logits

So a loss can compare a network with its members, and the average can be scored like any system.

Suffixes: B batch, K labels.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.train.systems.graph import Node, System
from ckd.train.systems.rewrite import TEACHER

#: Prefix of the tensors that hold averaged answers.
MEMBERS = "members_"

#: States of networks by the name of their node.
States = Mapping[str, Mapping[str, Tensor]]
#: What logits are of: labels that exclude each other, or questions of their own such as pixels.
Question = Literal["labels", "yes_or_no"]


class MeanAnswer(nn.Module):
    """Logits of the mean probability of several networks.

    Probabilities are averaged, not logits: one member that is sure would outvote the others else.

    Args:
        kind: "labels" for logits [B, K] whose probabilities are a softmax, "yes_or_no" for logits
            of any shape, of which each has a sigmoid of its own.
    """

    def __init__(self, kind: Question) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *logits: Tensor) -> Tensor:
        """Logits, float32, of the shape of each argument."""
        stacked = torch.stack([one.float() for one in logits])
        # Sums of probabilities as logarithms, so that none is rounded to 0.
        if self.kind == "labels":
            return F.log_softmax(stacked, dim=2).logsumexp(dim=0) - math.log(len(logits))
        return F.logsigmoid(stacked).logsumexp(dim=0) - F.logsigmoid(-stacked).logsumexp(dim=0)


def with_members(system: System, members: Sequence[States]) -> System:
    """The system with copies of some of its networks, one for each member.

    The original networks are shared with ``system`` and stay as they are. Outputs stay the same;
    every output that a member's networks give has an average, named with the prefix ``members_``.

    Args:
        system: which has the networks.
        members: weights of the same networks.

    Raises:
        UsageError: the members give none of the system's outputs, so there is nothing to average.
    """
    names = tuple(members[0])
    originals = [node for node in system.nodes if node.name in names]
    inside = [name for node in originals for name in node.outputs]
    questions = {name: kind for name in inside if (kind := _question(name, system)) is not None}
    if not questions:
        raise UsageError(
            f"{', '.join(names)}: none of these networks of {system.name} gives logits of labels "
            "or masks, so members of them have no answers to average"
        )
    copies = []
    for number, weights in enumerate(members):
        prefix = f"member{number}_"
        for node in originals:
            module = copy.deepcopy(node.module)
            module.load_state_dict(weights[node.name])
            copies.append(
                Node(
                    prefix + node.name,
                    module,
                    tuple(prefix + name if name in inside else name for name in node.inputs),
                    tuple(prefix + name for name in node.outputs),
                )
            )
    means = [
        Node(
            f"mean_{name}",
            MeanAnswer(kind),
            tuple(f"member{number}_{name}" for number in range(len(members))),
            (MEMBERS + name,),
        )
        for name, kind in questions.items()
    ]
    return system.with_nodes((*system.nodes, *copies, *means))


def averaged(system: System, members: Sequence[States]) -> System:
    """The system whose outputs are the averages of its members, where they give them.

    Raises:
        UsageError: as `with_members`.
    """
    joined = with_members(system, members)
    given = {name for node in joined.nodes for name in node.outputs}
    return joined.with_nodes(
        joined.nodes,
        joined.outputs.renamed(lambda name: MEMBERS + name if MEMBERS + name in given else name),
    )


def _question(name: str, system: System) -> Question | None:
    """What the logits of an output, or of a teacher's like it, are of; None for other tensors."""
    outputs = system.outputs
    output = name.removeprefix(TEACHER)
    if output == outputs.class_logits:
        return "labels" if outputs.exclusive else "yes_or_no"
    return "yes_or_no" if output in (outputs.mask_logits, outputs.coarse_logits) else None
