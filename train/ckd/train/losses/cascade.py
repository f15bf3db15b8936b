"""What one cascade learns from another besides its diagnoses: soft masks, and where it looks.

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
from ckd.train.losses.term import ClassCounts
from ckd.train.settings import STRICT


def soft_mask_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over pixels of `soft_divergence`: T^2 KL(teacher || student).

    Args:
        student: logits of any shape.
        teacher: logits of the same shape.
        temperature: T that both are divided by.
    """
    # A pixel is of two classes, of which the second one's logit is 0.
    student_N2, teacher_N2 = (F.pad(x.reshape(-1, 1), (0, 1)) for x in (student, teacher))
    return soft_divergence(student_N2, teacher_N2, temperature)


def attention_distance(student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
    """Squared distance of two spatial attention maps, mean over the batch, in [0, 2].

    A map is the sum over channels of squares, scaled to length 1 (Zagoruyko and Komodakis 2017, of
    which this is the square of the unscaled norm): channels may differ in number, places not.
    """
    student_BT, teacher_BT = (
        F.normalize(x.float().square().sum(dim=1).flatten(1), dim=1)
        for x in (student_BCHW, teacher_BCHW)
    )
    return (student_BT - teacher_BT).square().sum(dim=1).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftMask:
    """`soft_mask_divergence` of mask logits."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[None] = None

    kind: Literal["soft_mask"] = "soft_mask"
    name: str = "soft_mask"
    student: str
    teacher: str
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 1.0

    def tensors(self) -> tuple[str, ...]:
        """What of the system it is computed from."""
        return self.student, self.teacher

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """Of logits of one size; computed in float32."""
        return soft_mask_divergence(tensors[self.student], tensors[self.teacher], self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTransfer:
    """Mean of `attention_distance` over pairs of tensors: gates, or means, of both cascades."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[None] = None

    kind: Literal["attention"] = "attention"
    name: str = "attention"
    pairs: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]  # (student's, teacher's)
    weight: NonNegativeFloat = 1.0

    def tensors(self) -> tuple[str, ...]:
        """What of the system it is computed from."""
        return tuple(name for pair in self.pairs for name in pair)

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """Of maps of equal height and width, pair by pair; computed in float32."""
        distances = [attention_distance(tensors[s], tensors[t]) for s, t in self.pairs]
        return torch.stack(distances).mean()
