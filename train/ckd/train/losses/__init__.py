"""Losses by family. The terms of a recipe's stage are chosen among them."""

from typing import Annotated

from pydantic import Field

from ckd.train.losses.cascade import AttentionTransfer, SoftMask
from ckd.train.losses.classification import BinaryLoss, LabelLoss
from ckd.train.losses.contrast import Contrast, SourceLoss
from ckd.train.losses.distillation import Hint, SoftLabels
from ckd.train.losses.relations import Relation
from ckd.train.losses.segmentation import MaskLoss

__all__ = [
    "AttentionTransfer",
    "BinaryLoss",
    "Contrast",
    "Hint",
    "LabelLoss",
    "Loss",
    "MaskLoss",
    "Relation",
    "SoftLabels",
    "SoftMask",
    "SourceLoss",
]

#: Any term that a stage can have.
Loss = Annotated[
    MaskLoss | LabelLoss | BinaryLoss
    | SoftLabels | SoftMask | Hint | AttentionTransfer | Relation | SourceLoss | Contrast,
    Field(discriminator="kind"),
]  # fmt: skip
