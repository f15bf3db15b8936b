"""Systems: graphs of sub-networks, one file per paper."""

from typing import Annotated

from pydantic import Field

from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.clnet import ClNet
from ckd.train.systems.distilled import DistilledCkdNet
from ckd.train.systems.graph import Node, System, tensor_shapes
from ckd.train.systems.members import MEMBERS, States, averaged, with_members
from ckd.train.systems.multitask import MultiTask
from ckd.train.systems.plain import Plain
from ckd.train.systems.rewrite import (
    FEATURES,
    TEACHER,
    class_head,
    deployed,
    explained,
    has_teacher,
    merged,
    prefixed,
    teacher,
)
from ckd.train.systems.ssdkd import SsdKd

__all__ = [
    "FEATURES",
    "MEMBERS",
    "TEACHER",
    "Architecture",
    "CkdNet",
    "ClNet",
    "DistilledCkdNet",
    "MultiTask",
    "Node",
    "Plain",
    "SsdKd",
    "States",
    "System",
    "averaged",
    "class_head",
    "deployed",
    "explained",
    "has_teacher",
    "merged",
    "prefixed",
    "teacher",
    "tensor_shapes",
    "with_members",
]

#: What a recipe can train; each builds its `ckd.train.systems.graph.System`.
Architecture = Annotated[
    CkdNet
    | ClNet
    | DistilledCkdNet
    | MultiTask
    | Plain
    | SsdKd,
    Field(discriminator="kind"),
]  # fmt: skip
