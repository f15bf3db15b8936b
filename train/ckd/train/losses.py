"""Losses of CKDNet (paper section 3.4), in the form of the authors' code or of the paper.

Suffixes: B batch, K classes; masks and logits are [B, 1, H, W], masks 0 or 1 in float.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Literal["code", "paper"]

_SMOOTH = 1.0
_PROBABILITY_FLOOR = 1e-6


def soft_dice(logits: Tensor, mask: Tensor, form: Form = "code") -> Tensor:
    """1 - Dice per image, mean over the batch.

    code: 1 - 2 (I + 1) / (sum p + sum q + 1), clamped at 0 (a perfect mask of A pixels would give
    -1 / (2A + 1), an empty one on an empty truth -1). paper, Eq. 7: squared denominators, no
    smoothing; here 1e-6 keeps empty/empty defined.
    """
    p_BN = torch.sigmoid(logits).flatten(1)
    q_BN = mask.flatten(1)
    overlap_B = (p_BN * q_BN).sum(dim=1)
    if form == "paper":
        size_B = p_BN.square().sum(dim=1) + q_BN.square().sum(dim=1) + _PROBABILITY_FLOOR
        return (1.0 - 2.0 * overlap_B / size_B).mean()
    size_B = p_BN.sum(dim=1) + q_BN.sum(dim=1)
    dice_B = 2.0 * (overlap_B + _SMOOTH) / (size_B + _SMOOTH)
    # The authors clamp with Python's max(), which returns an int and ends the gradient.
    return (1.0 - dice_B).mean().clamp(min=0.0)


def binary_focal(logits: Tensor, mask: Tensor, form: Form = "code", gamma: float = 2.0) -> Tensor:
    """Focal loss over pixels.

    code: mean over the lesion's pixels plus mean over the rest, which balances the two. Where the
    authors divide by nothing (no lesion pixel in the batch) the mean of the rest is returned.
    paper, Eq. 9: mean over all pixels with alpha 0.25 on the lesion, 0.75 elsewhere.
    """
    p = torch.sigmoid(logits).clamp(_PROBABILITY_FLOOR, 1.0 - _PROBABILITY_FLOOR)
    on_lesion = -((1.0 - p) ** gamma) * p.log() * mask
    elsewhere = -(p**gamma) * (1.0 - p).log() * (1.0 - mask)
    if form == "paper":
        return (0.25 * on_lesion + 0.75 * elsewhere).mean()
    num_lesion = mask.sum()
    num_rest = mask.numel() - num_lesion
    return on_lesion.sum() / num_lesion.clamp(min=1.0) + elsewhere.sum() / num_rest.clamp(min=1.0)


def dice_focal(
    logits: Tensor, mask: Tensor, form: Form = "code", focal_weight: float = 1.0
) -> Tensor:
    """Soft Dice + focal_weight * focal: the loss of both segmentation networks."""
    logits = logits.float()
    return soft_dice(logits, mask, form) + focal_weight * binary_focal(logits, mask, form)


def class_weights(counts_K: Sequence[int]) -> tuple[float, ...]:
    """100 / training images of the class, as in the authors' code; 0 for a class never seen."""
    return tuple(100.0 / count if count else 0.0 for count in counts_K)


def weighted_cross_entropy(
    logits_BK: Tensor,
    labels_B: Tensor,
    weights_K: Sequence[float],
    form: Form = "code",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Class-weighted cross-entropy.

    code (PyTorch's weighted mean): divided by the sum of the batch's weights, so the common factor
    of the weights cancels. paper, Eq. 5: divided by the number of images.
    """
    weight = torch.tensor(weights_K, dtype=torch.float32, device=logits_BK.device)
    reduction = "mean" if form == "code" else "sum"
    loss = F.cross_entropy(
        logits_BK.float(), labels_B, weight, reduction=reduction, label_smoothing=label_smoothing
    )
    return loss if form == "code" else loss / len(labels_B)
