"""Losses by family; a recipe's stage holds some of them as its terms."""

from typing import Annotated

from pydantic import Field

from ckd.train.losses.cascade import AttentionTransfer, SoftMask
from ckd.train.losses.classification import BinaryLoss, LabelLoss
from ckd.train.losses.segmentation import MaskLoss

__all__ = ["AttentionTransfer", "BinaryLoss", "LabelLoss", "Loss", "MaskLoss", "SoftMask"]

#: Any term that a stage can have.
Loss = Annotated[
    MaskLoss
    | LabelLoss
    | BinaryLoss
    | SoftMask
    | AttentionTransfer,
    Field(discriminator="kind"),
]  # fmt: skip
