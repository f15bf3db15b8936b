"""Losses of masks: Dice and a term for each pixel (CKDNet, section 3.4).

Each has three forms: "code" is that of the CKDNet authors' code, "paper" that of their paper, and
"plain" that of textbooks. Masks (0 or 1) and logits are [B, 1, H, W].

Suffixes: B batch, N pixels, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat
from torch import Tensor

from ckd.train.losses.term import ClassCounts, OutputTerm
from ckd.train.settings import STRICT

Form = Literal["code", "paper", "plain"]

_SMOOTH = 1.0
_PROBABILITY_FLOOR = 1e-6


def soft_dice(logits: Tensor, mask: Tensor, form: Form = "code") -> Tensor:
    """1 - Dice of each image, mean over the batch.

    With probabilities p, truth q and overlap I = sum p q:
    code: 1 - 2 (I + 1) / (sum p + sum q + 1), clamped at 0 (a perfect mask of A pixels would give
    -1 / (2A + 1), an empty mask of an empty truth -1). paper, Eq. 7: squared denominators without
    smoothing; 1e-6 is added here so that an empty mask of an empty truth has a value.
    plain: 1 - (2 I + 1) / (sum p + sum q + 1).
    """
    p_BN = torch.sigmoid(logits).flatten(1)
    q_BN = mask.flatten(1)
    overlap_B = (p_BN * q_BN).sum(dim=1)
    if form == "paper":
        size_B = p_BN.square().sum(dim=1) + q_BN.square().sum(dim=1) + _PROBABILITY_FLOOR
        return (1.0 - 2.0 * overlap_B / size_B).mean()
    size_B = p_BN.sum(dim=1) + q_BN.sum(dim=1)
    if form == "plain":
        return (1.0 - (2.0 * overlap_B + _SMOOTH) / (size_B + _SMOOTH)).mean()
    dice_B = 2.0 * (overlap_B + _SMOOTH) / (size_B + _SMOOTH)
    # The authors clamp with Python's max(), which returns an int and ends the gradient.
    return (1.0 - dice_B).mean().clamp(min=0.0)


def binary_focal(logits: Tensor, mask: Tensor, form: Form = "code", gamma: float = 2.0) -> Tensor:
    """Focal loss over pixels.

    code: mean over the lesion's pixels plus mean over the other pixels, which balances the two. If
    the batch has no lesion pixel, the authors divide by zero; here the mean over the other pixels
    is returned. paper, Eq. 9: mean over all pixels with alpha 0.25 on the lesion and 0.75
    elsewhere. plain: the same without alpha.
    """
    p = torch.sigmoid(logits).clamp(_PROBABILITY_FLOOR, 1.0 - _PROBABILITY_FLOOR)
    on_lesion = -((1.0 - p) ** gamma) * p.log() * mask
    elsewhere = -(p**gamma) * (1.0 - p).log() * (1.0 - mask)
    if form == "paper":
        return (0.25 * on_lesion + 0.75 * elsewhere).mean()
    if form == "plain":
        return (on_lesion + elsewhere).mean()
    num_lesion = mask.sum()
    num_rest = mask.numel() - num_lesion
    return on_lesion.sum() / num_lesion.clamp(min=1.0) + elsewhere.sum() / num_rest.clamp(min=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLoss(OutputTerm):
    """Dice + ``pixel_weight`` * (focal or cross-entropy over pixels) of mask logits.

    Logits of a smaller size than the mask are enlarged as the runtime does it. Those of over half
    its side are of a network that works on a smaller image (``segment_px`` of CKDNet), and their
    corners are not aligned; those of a coarser grid, as CKDNet's coarse ones, have aligned corners.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[Literal["mask"]] = "mask"

    kind: Literal["mask"] = "mask"
    name: str = "mask"
    output: str
    weight: NonNegativeFloat = 1.0
    form: Form = "code"
    pixel: Literal["focal", "cross_entropy"] = "focal"
    pixel_weight: NonNegativeFloat = 1.0

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """The loss in float32 of a batch with ``mask`` [B, 1, H, W]."""
        mask, logits = batch["mask"], tensors[self.output].float()
        if logits.shape != mask.shape:
            is_coarse = 2 * logits.shape[-1] <= mask.shape[-1]
            logits = F.interpolate(logits, mask.shape[2:], mode="bilinear", align_corners=is_coarse)
        if self.pixel == "focal":
            by_pixel = binary_focal(logits, mask, self.form)
        else:
            by_pixel = F.binary_cross_entropy_with_logits(logits, mask)
        return soft_dice(logits, mask, self.form) + self.pixel_weight * by_pixel
