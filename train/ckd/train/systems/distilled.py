"""A CKDNet that is taught by a larger one: two cascades, of which the student is deployed.

    image ─┬─► teacher_rootseg ─► teacher_cls ─► teacher_seg_* ─► teacher_logits, teacher_mask_...
           └─► rootseg ─────────► cls ─────────► seg_* ─────────► logits, mask_logits

This method is ours, not one of a paper. The tensors of both cascades have the same names except for
the teacher's prefix. Losses compare them: logits, gates, means and penultimate features.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from ckd.train.networks.cls import Cls
from ckd.train.networks.pretrained import Weights
from ckd.train.settings import STRICT
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import Node, System
from ckd.train.systems.rewrite import TEACHER, prefixed


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilledCkdNet:
    """Shapes of the teacher and of the student that is deployed."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: ClassVar[str] = "CKDNet (Jin et al. 2021), taught by a larger one (our method)"

    kind: Literal["distilled_ckdnet"] = "distilled_ckdnet"
    teacher: CkdNet
    student: CkdNet

    def __post_init__(self) -> None:
        if self.teacher.segment_px != self.student.segment_px:
            raise ValueError(
                f"segment_px is {self.teacher.segment_px} of the teacher and "
                f"{self.student.segment_px} of the student; losses compare their maps, so both "
                "must be the same"
            )

    def build(
        self, labels: tuple[str, ...], tasks: tuple[str, ...], image_size: int, weights: Weights
    ) -> System:
        """Both cascades. Both classifiers also compute their penultimate ``features`` [B, C]."""
        teacher, student = (
            _with_features(shape.build(labels, tasks, image_size, weights))
            for shape in (self.teacher, self.student)
        )
        return student.with_nodes((*prefixed(teacher, TEACHER).nodes, *student.nodes))


def _with_features(system: System) -> System:
    nodes = []
    for node in system.nodes:
        if isinstance(node.module, Cls):
            node.module.classify.gives_features = True
            logits, *means = node.outputs
            node = Node(node.name, node.module, node.inputs, (logits, "features", *means))
        nodes.append(node)
    return system.with_nodes(nodes)
