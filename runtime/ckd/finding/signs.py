"""Figures of a cascade's masks that tell photographs of lesions from pictures of anything else.

The networks were trained on photographs with a lesion in each. There the masks are decided, whole
and alike; on bare skin they are faint, and on other things they are faint, in pieces, or differ.
None of the figures reads a colour, so none can depend on the colour of a person's skin other than
through the masks; which share of photographs is lost is told for each group of skin tone
(`ckd.train.sections`).

Suffixes: h, w rows and columns of a mask's logits.
"""

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.spec import OutputSpec

#: Masks are judged on a grid of this many cells a side, whatever the networks' size.
_SIDE: Final = 64
#: Logits beyond these say no more; infinite ones would spoil every sum.
_LARGEST_LOGIT: Final = 30.0
_OF_A_MASK: Final = ("peak", "floor", "decided", "size", "ragged")


def sign_names(outputs: OutputSpec) -> tuple[str, ...]:
    """Names of the figures that a cascade with these outputs has; none without a fine mask."""
    if outputs.mask_logits is None:
        return ()
    fine = tuple(f"fine_{name}" for name in _OF_A_MASK)
    if outputs.coarse_logits is None:
        return fine
    return (*fine, *(f"coarse_{name}" for name in _OF_A_MASK), "alike")


def mask_signs(outputs: OutputSpec, logits: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """The figures by name, as `sign_names` lists them.

    For the fine mask, and for the coarse one if there is one:

    - ``peak`` and ``floor``, the largest and the smallest logit after a mean over 3 x 3 cells;
    - ``decided``, the mean of abs(2p - 1) over the probabilities p of all cells;
    - ``size``, the logarithm of the mean probability;
    - ``ragged``, the logarithm of the length of the border over the root of the area, both weighted
      by probability: small for one round lesion, large for many pieces.

    ``alike`` is the overlap of both masks, sum of minima over sum of maxima.

    Args:
        outputs: names the tensors.
        logits: finite, by tensor name, [1, 1, h, w].
    """
    if outputs.mask_logits is None:
        return {}
    names = {"fine": outputs.mask_logits, "coarse": outputs.coarse_logits}
    signs: dict[str, float] = {}
    grids = []
    for which, name in names.items():
        if name is not None:
            logits_hw = _on_grid(np.asarray(logits[name][0, 0], np.float32))
            grids.append(np.asarray(1 / (1 + np.exp(-logits_hw)), np.float32))
            figures = _figures(logits_hw, grids[-1])
            signs |= {f"{which}_{key}": value for key, value in figures.items()}
    if len(grids) == 2:
        both, either = np.minimum(*grids).sum(), np.maximum(*grids).sum()
        signs["alike"] = float(both / either)  # probabilities are above 0
    return signs


def _on_grid(logits_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped_hw = np.clip(logits_hw, -_LARGEST_LOGIT, _LARGEST_LOGIT)
    way = cv2.INTER_AREA if min(logits_hw.shape) >= _SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(clipped_hw, (_SIDE, _SIDE), interpolation=way), np.float32)


def _figures(logits_hw: NDArray[np.float32], mask_hw: NDArray[np.float32]) -> dict[str, float]:
    smooth_hw = cv2.blur(logits_hw, (3, 3))
    area = float(mask_hw.mean()) + 1e-3
    steps = np.abs(np.diff(mask_hw, axis=0)).sum() + np.abs(np.diff(mask_hw, axis=1)).sum()
    border = float(steps) / _SIDE + 0.05
    values = (
        float(smooth_hw.max()),
        float(smooth_hw.min()),
        float(np.abs(2 * mask_hw - 1).mean()),
        float(np.log(area)),
        float(np.log(border) - 0.5 * np.log(area)),
    )
    return dict(zip(_OF_A_MASK, values, strict=True))
