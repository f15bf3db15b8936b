"""Self-supervision on turned views (SSD-KD, after SSKD, Xu et al. 2020).

A turned view is compared with every upright view of the batch; it should be most similar to the
upright view of its own image.

Suffixes: B batch, N turned views, U upright views, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat
from torch import Tensor

from ckd.train.losses.distillation import soft_divergence
from ckd.train.losses.term import ClassCounts, OutputTerm, TeacherTerm
from ckd.train.settings import STRICT, Fraction


def similarities(embedding_BC: Tensor, turn_B: Tensor) -> Tensor:
    """Cosines [N, U] of every turned view with every upright view, in float32."""
    with torch.autocast(embedding_BC.device.type, enabled=False):
        unit_BC = F.normalize(embedding_BC.float(), dim=1, eps=1e-8)
        return unit_BC[turn_B != 0] @ unit_BC[turn_B == 0].T


def sources(index_B: Tensor, turn_B: Tensor) -> Tensor:
    """Column [N] of the upright view of the same image, for every turned view."""
    same_NU = index_B[turn_B != 0][:, None] == index_B[turn_B == 0][None]
    return same_NU.int().argmax(dim=1)


def rows_kept(similarity_NU: Tensor, source_N: Tensor, share_of_wrong: float) -> Tensor:
    """Which views [N] a student learns from: those its teacher gets right, and its better mistakes.

    A teacher is wrong about a view if another image is more similar than the true one. Of these
    views the given share is kept, those in which the true image ranks best.
    """
    order_NU = similarity_NU.argsort(dim=1, descending=True, stable=True)
    rank_N = (order_NU == source_N[:, None]).int().argmax(dim=1)
    num_wrong = int((rank_N > 0).sum())
    num_kept = len(rank_N) - num_wrong + int(share_of_wrong * num_wrong)
    kept_N = torch.zeros_like(rank_N, dtype=torch.bool)
    kept_N[rank_N.argsort(stable=True)[:num_kept]] = True
    return kept_N


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLoss(OutputTerm):
    """Cross-entropy of the cosines with the upright views; the view's own image is the truth.

    By chance it is ln(U). As in SSD-KD's code, no temperature is used.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[None] = None

    kind: Literal["source"] = "source"
    name: str = "source"
    output: str
    weight: NonNegativeFloat = 1.0

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """The loss of a batch of turned views (`Augmentation.turned_views`)."""
        similarity_NU = similarities(tensors[self.output], batch["turn"])
        return F.cross_entropy(similarity_NU, sources(batch["index"], batch["turn"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast(TeacherTerm):
    """`soft_divergence` of the student's cosines from the teacher's, over the `rows_kept`.

    The kept rows depend on the teacher alone.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["contrast"] = "contrast"
    name: str = "contrast"
    student: str
    teacher: str
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 0.5
    share_of_wrong: Fraction = 0.75

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """The loss of a batch of turned views (`Augmentation.turned_views`)."""
        turn_B = batch["turn"]
        student_NU = similarities(tensors[self.student], turn_B)
        teacher_NU = similarities(tensors[self.teacher], turn_B)
        kept_N = rows_kept(teacher_NU, sources(batch["index"], turn_B), self.share_of_wrong)
        return soft_divergence(student_NU[kept_N], teacher_NU[kept_N], self.temperature)
