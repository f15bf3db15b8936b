"""Losses of relations between the images of a batch, and between channels.

Relational knowledge distillation (Park et al. 2019) and SSD-KD's Gram term (Wang et al. 2023).
Everything is computed in float64, because the formulas below subtract large numbers from each
other; the cost is small.

Suffixes: N rows, C channels, P places.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ckd.contract.errors import UsageError
from ckd.train.losses.term import ClassCounts, TeacherTerm
from ckd.train.settings import STRICT

_EPSILON = 1e-12


def distance_loss(student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
    """Smooth L1 of the two matrices of distances, each divided by its mean positive distance.

    Park et al. 2019, Eqs. 3 to 5. Student and teacher may differ in C. The loss is 0 for fewer than
    two distinct rows.
    """
    student_NN, teacher_NN = (_distances(x.double()) for x in (student_NC, teacher_NC))
    return F.smooth_l1_loss(_by_mean(student_NN), _by_mean(teacher_NN))


def angle_loss(student_NC: Tensor, teacher_NC: Tensor, max_triplets: int = 1 << 20) -> Tensor:
    """Smooth L1 of the cosines of all angles between three rows, mean over all N^3 triplets.

    Park et al. 2019, Eqs. 6 and 7: the cosine at row i between the directions to j and to k; 0 if
    row j or row k equals row i. The cosines are computed from scalar products of the rows, which
    takes N^3 steps where differences would take N^3 C, and for a chunk of rows i at a time, so that
    memory does not grow with N^3. (SSD-KD's code holds [N, N, C] and [N, N, N] at once.)

    Args:
        student_NC: features of the student.
        teacher_NC: features of the teacher.
        max_triplets: triplets of rows in a chunk, if a single row i has no more.
    """
    student, teacher = _Angles(student_NC.double()), _Angles(teacher_NC.double())
    num = len(student_NC)
    total = student_NC.new_zeros((), dtype=torch.float64)
    step = max(max_triplets // max(num * num, 1), 1)
    for start in range(0, num, step):
        rows = slice(start, start + step)
        total = total + checkpoint(
            _angle_difference, student, teacher, rows, use_reentrant=False, preserve_rng_state=False
        )
    return total / max(num, 1) ** 3


def gram_loss(student_NCP: Tensor, teacher_NCP: Tensor) -> Tensor:
    """sqrt(mean (G_s - G_t)^2) over rows and pairs of channels, G = F F^T / (C P) (SSD-KD's L_cr).

    The sum of squares is computed from matrices [P, P] instead of [C, C], such as 49 by 49 instead
    of 2048 by 2048: |F_s F_s^T - F_t F_t^T|^2 = |F_s^T F_s|^2 + |F_t^T F_t|^2 - 2 |F_s^T F_t|^2.
    1e-12 under the root keeps the gradient finite if both are equal; the authors' is nan then.
    """
    num, channels, places = student_NCP.shape
    student_NCP = student_NCP.double() / (channels * places) ** 0.5
    teacher_NCP = teacher_NCP.double() / (channels * teacher_NCP.shape[2]) ** 0.5

    def agreement(one_NCP: Tensor, other_NCP: Tensor) -> Tensor:
        return torch.bmm(one_NCP.transpose(1, 2), other_NCP).square().sum()

    squares = (
        agreement(student_NCP, student_NCP)
        + agreement(teacher_NCP, teacher_NCP)
        - 2.0 * agreement(student_NCP, teacher_NCP)
    )
    return (squares.clamp(min=0.0) / (num * channels**2) + _EPSILON).sqrt()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation(TeacherTerm):
    """`distance_loss`, `angle_loss` or `gram_loss` of a student's and a teacher's features.

    Features are [B, C] or maps [B, C, H, W]. Distances and angles compare the means of maps over
    places. The Gram term takes maps of equal C; H and W may differ.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["relation"] = "relation"
    name: str
    of: Literal["distances", "angles", "gram"]
    student: str
    teacher: str
    weight: NonNegativeFloat = 1.0

    def __call__(
        self, tensors: Mapping[str, Tensor], _: Mapping[str, Tensor], __: ClassCounts
    ) -> Tensor:
        """The loss over all rows of a batch; `UsageError` if Gram matrices would differ in size."""
        student, teacher = tensors[self.student], tensors[self.teacher]
        with torch.autocast(student.device.type, enabled=False):
            if self.of == "gram":
                if student.shape[1] != teacher.shape[1]:
                    raise UsageError(
                        f"loss {self.name!r}: {self.student} has {student.shape[1]} channels, "
                        f"{self.teacher} {teacher.shape[1]}; expected equally many, as the "
                        "connector's output has"
                    )
                return gram_loss(student.flatten(2), teacher.flatten(2)).float()
            loss = distance_loss if self.of == "distances" else angle_loss
            return loss(_means(student), _means(teacher)).float()


class _Angles:
    """Scalar products and inverse distances of rows, from which cosines are computed."""

    def __init__(self, x_NC: Tensor) -> None:
        x_NC = x_NC - x_NC.mean(dim=0)  # angles do not change, and the products get smaller
        self.products_NN = x_NC @ x_NC.T
        distance_NN = _distances(x_NC)
        apart_NN = distance_NN > 0
        self.inverse_NN = torch.where(apart_NN, distance_NN.where(apart_NN, 1.0).reciprocal(), 0.0)

    def at(self, rows: slice) -> Tensor:
        """(x_j - x_i) (x_k - x_i) / (|x_j - x_i| |x_k - x_i|) as [rows i, j, k]."""
        products_RN = self.products_NN[rows]
        own_R11 = self.products_NN.diagonal()[rows][:, None, None]
        inner = self.products_NN - products_RN[:, :, None] - products_RN[:, None, :] + own_R11
        inverse_RN = self.inverse_NN[rows]
        return inner * inverse_RN[:, :, None] * inverse_RN[:, None, :]


def _angle_difference(student: _Angles, teacher: _Angles, rows: slice) -> Tensor:
    return F.smooth_l1_loss(student.at(rows), teacher.at(rows), reduction="sum")


def _distances(x_NC: Tensor) -> Tensor:
    """Euclidean distances [N, N]; exactly 0 with gradient 0 between equal rows."""
    return torch.cdist(x_NC, x_NC, compute_mode="donot_use_mm_for_euclid_dist")


def _by_mean(distance_NN: Tensor) -> Tensor:
    positive = distance_NN[distance_NN > 0]
    return distance_NN / positive.mean() if len(positive) else distance_NN


def _means(x: Tensor) -> Tensor:
    return x.float().flatten(2).mean(dim=2) if x.ndim > 2 else x
