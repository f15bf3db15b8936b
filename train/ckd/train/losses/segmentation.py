"""Losses of masks: Dice and a term for each pixel (CKDNet, section 3.4).

Each in three forms: "code" is that of CKDNet's authors, "paper" what their paper prints, "plain"
the textbook's. Suffixes: B batch, N pixels; masks and logits are [B, 1, H, W], masks 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat
from torch import Tensor

from ckd.train.losses.term import ClassCounts
from ckd.train.settings import STRICT

Form = Literal["code", "paper", "plain"]

_SMOOTH = 1.0
_PROBABILITY_FLOOR = 1e-6


def soft_dice(logits: Tensor, mask: Tensor, form: Form = "code") -> Tensor:
    """1 - Dice per image, mean over the batch.

    code: 1 - 2 (I + 1) / (sum p + sum q + 1), clamped at 0 (a perfect mask of A pixels would give
    -1 / (2A + 1), an empty one on an empty truth -1). paper, Eq. 7: squared denominators, no
    smoothing; here 1e-6 keeps empty/empty defined. plain: 1 - (2 I + 1) / (sum p + sum q + 1).
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

    code: mean over the lesion's pixels plus mean over the rest, which balances the two. Where the
    authors divide by nothing (no lesion pixel in the batch) the mean of the rest is returned.
    paper, Eq. 9: mean over all pixels with alpha 0.25 on the lesion, 0.75 elsewhere. plain: the
    same without alpha.
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
class MaskLoss:
    """Dice + ``pixel_weight`` * (focal or cross-entropy over pixels) of mask logits.

    Logits smaller than the mask, such as CKDNet's coarse ones, are enlarged with aligned corners.
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

    def tensors(self) -> tuple[str, ...]:
        """What of the system it is computed from."""
        return (self.output,)

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], _: ClassCounts
    ) -> Tensor:
        """Of a batch with ``mask`` [B, 1, H, W]; computed in float32."""
        mask, logits = batch["mask"], tensors[self.output].float()
        if logits.shape != mask.shape:
            logits = F.interpolate(logits, mask.shape[2:], mode="bilinear", align_corners=True)
        if self.pixel == "focal":
            by_pixel = binary_focal(logits, mask, self.form)
        else:
            by_pixel = F.binary_cross_entropy_with_logits(logits, mask)
        return soft_dice(logits, mask, self.form) + self.pixel_weight * by_pixel
