"""Losses of a student against its teacher, image by image.

Suffixes: B batch, K labels, N rows of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat
from torch import Tensor

from ckd.contract.errors import UsageError
from ckd.train.losses.term import ClassCounts, TeacherTerm
from ckd.train.settings import STRICT


def soft_divergence(student_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over rows; 0 if there are none.

    Hinton et al. 2015; the factor T^2 keeps the size of the gradient independent of T.
    """
    log_p_NK = F.log_softmax(student_NK.float() / temperature, dim=1)
    log_q_NK = F.log_softmax(teacher_NK.float() / temperature, dim=1)
    total = F.kl_div(log_p_NK, log_q_NK, reduction="sum", log_target=True)
    return temperature**2 * total / max(len(student_NK), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftLabels(TeacherTerm):
    """`soft_divergence` of class logits [B, K] on the upright, the turned or all views."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["soft_labels"] = "soft_labels"
    name: str = "soft_labels"
    student: str
    teacher: str
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 4.0
    views: Literal["upright", "turned", "all"] = "all"

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """The loss in float32 of a batch with ``turn`` [B]."""
        student_BK, teacher_BK = tensors[self.student], tensors[self.teacher]
        if self.views != "all":
            chosen_B = (batch["turn"] == 0) == (self.views == "upright")
            student_BK, teacher_BK = student_BK[chosen_B], teacher_BK[chosen_B]
        return soft_divergence(student_BK, teacher_BK, self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint(TeacherTerm):
    """Mean squared difference of two tensors of one shape (FitNets, Romero et al. 2015, Eq. 3).

    The paper takes half of the sum; here the mean is taken as in SSD-KD's code.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["hint"] = "hint"
    name: str = "hint"
    student: str
    teacher: str
    weight: NonNegativeFloat = 1.0

    def __call__(
        self, tensors: Mapping[str, Tensor], _: Mapping[str, Tensor], __: ClassCounts
    ) -> Tensor:
        """The loss in float32; `UsageError` if the shapes differ."""
        student, teacher = tensors[self.student].float(), tensors[self.teacher].float()
        if student.shape != teacher.shape:
            raise UsageError(
                f"loss {self.name!r}: {self.student} is {list(student.shape)}, {self.teacher} "
                f"{list(teacher.shape)}; expected equal shapes, choose networks whose last maps "
                "are of one size"
            )
        return F.mse_loss(student, teacher)
