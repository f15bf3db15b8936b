"""Losses of a student cascade against its teacher besides the labels: soft masks and attention.

Suffixes: B batch, C channels, H rows, W columns, T = H*W, N pixels of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from ckd.train.losses.distillation import soft_divergence
from ckd.train.losses.term import ClassCounts, TeacherTerm
from ckd.train.settings import STRICT


def soft_mask_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over pixels of `soft_divergence`: T^2 KL(teacher || student).

    Args:
        student: logits of any shape.
        teacher: logits of the same shape.
        temperature: T, by which both are divided.
    """
    # A pixel has two classes; the logit of the second is 0.
    student_N2, teacher_N2 = (F.pad(x.reshape(-1, 1), (0, 1)) for x in (student, teacher))
    return soft_divergence(student_N2, teacher_N2, temperature)


def attention_distance(student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
    """Squared distance of two spatial attention maps, mean over the batch, in [0, 2].

    An attention map is the sum over channels of squares, scaled to length 1 (Zagoruyko and
    Komodakis 2017, who use the norm where this is its square). The two may differ in the number of
    channels, but not in size.
    """
    student_BT, teacher_BT = (
        F.normalize(x.float().square().sum(dim=1).flatten(1), dim=1)
        for x in (student_BCHW, teacher_BCHW)
    )
    return (student_BT - teacher_BT).square().sum(dim=1).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftMask(TeacherTerm):
    """`soft_mask_divergence` of mask logits."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["soft_mask"] = "soft_mask"
    name: str = "soft_mask"
    student: str
    teacher: str
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 1.0

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """The loss in float32 of logits of equal size."""
        return soft_mask_divergence(tensors[self.student], tensors[self.teacher], self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTransfer:
    """Mean of `attention_distance` over pairs of tensors, such as the gates of both cascades."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[None] = None

    kind: Literal["attention"] = "attention"
    name: str = "attention"
    pairs: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]  # (student's, teacher's)
    weight: NonNegativeFloat = 1.0

    def tensors(self) -> tuple[str, ...]:
        """The names of all tensors in the pairs."""
        return tuple(name for pair in self.pairs for name in pair)

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """The loss in float32; the maps of a pair have equal height and width."""
        distances = [attention_distance(tensors[s], tensors[t]) for s, t in self.pairs]
        return torch.stack(distances).mean()
