"""Mixing pairs of a batch's images, for students that learn from their teacher's answers alone.

Suffixes: B batch, H rows, W columns, C channels in RGB order.
"""

import numpy as np
import torch
from torch import Tensor


def mixed(image_BHWC: Tensor, alpha: float, rng: np.random.Generator) -> Tensor:
    """Each image faded into another one of the batch (mixup, Zhang et al. 2018).

    The share of the first image is drawn from Beta(alpha, alpha), once for the batch as in the
    authors' code. The result is rounded, so that teacher and student see an ordinary picture.

    Args:
        image_BHWC: uint8.
        alpha: above 0; the larger, the more equal the shares.
        rng: of the share and of the pairs.

    Returns:
        uint8 of the same shape.
    """
    share = float(rng.beta(alpha, alpha))
    partner_B = torch.from_numpy(rng.permutation(len(image_BHWC))).to(image_BHWC.device)
    first, second = image_BHWC.float(), image_BHWC[partner_B].float()
    return torch.lerp(second, first, share).round().to(torch.uint8)
