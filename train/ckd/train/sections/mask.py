"""The section "mask": the clean-up that helps most on photographs that are held out, or none.

Suffixes: H rows, W columns of the photograph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import confusion_from_masks
from ckd.finding.cleanup import MaskRule

#: Nothing, and what may be better. Whether small parts are lesions differs between networks.
RULES: Final = (
    MaskRule(),
    MaskRule(fills_holes=True),
    MaskRule(least_share=0.05, fills_holes=True),
    MaskRule(least_share=0.25, fills_holes=True),
    MaskRule(least_share=1.0, fills_holes=True),
)
#: A rule that gains less mean Jaccard index than this is not worth a section.
LEAST_GAIN: Final = 0.0005


@dataclass(frozen=True, slots=True)
class CleanedUp:
    """What a rule does to the masks of all photographs.

    Attributes:
        rule: that was applied.
        jaccard: mean Jaccard index of mask and truth.
        boundary: mean over photographs of the 95 % boundary distance, in hundredths of the
            photograph's diagonal; photographs whose mask or truth is empty are left out.
        worse: ids of the photographs that lose most, at most five, each with its loss.
    """

    rule: MaskRule
    jaccard: float
    boundary: float
    worse: tuple[tuple[str, float], ...]


def compare_rules(
    ids: Sequence[str],
    masks: Sequence[NDArray[np.bool_]],
    truths: Sequence[NDArray[np.bool_]],
) -> list[CleanedUp]:
    """All `RULES`, in their order.

    Args:
        ids: of the photographs.
        masks: as they come from the threshold, at the photographs' own sizes.
        truths: the true masks, of the same sizes.
    """
    table: list[CleanedUp] = []
    raw: list[float] = []
    for rule in RULES:
        cleaned = [rule.apply(mask_HW) for mask_HW in masks]
        pairs = list(zip(cleaned, truths, strict=True))
        jaccards = [confusion_from_masks(mask, truth).jaccard for mask, truth in pairs]
        raw = raw or jaccards
        distances = [boundary_distance(mask, truth) for mask, truth in pairs]
        losses = sorted(zip(np.subtract(raw, jaccards).tolist(), ids, strict=True), reverse=True)
        worse = tuple((name, loss) for loss, name in losses[:5] if loss > 0)
        known = [distance for distance in distances if distance is not None]
        boundary = float(np.mean(known)) if known else float("nan")
        table.append(CleanedUp(rule, float(np.mean(jaccards)), boundary, worse))
    return table


def best_rule(table: Sequence[CleanedUp]) -> MaskRule:
    """The rule with the largest mean Jaccard index; none if it gains less than `LEAST_GAIN`."""
    best = max(table, key=lambda row: row.jaccard)
    return best.rule if best.jaccard >= table[0].jaccard + LEAST_GAIN else MaskRule()


def boundary_distance(mask_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]) -> float | None:
    """The 95 % Hausdorff distance of two masks' borders, in hundredths of the diagonal.

    Of the distances of every border pixel of either mask to the other's border the 95th
    percentile. None if a mask is empty.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    borders = [one & (cv2.erode(one.astype(np.uint8), kernel) == 0) for one in (mask_HW, truth_HW)]
    if not all(border.any() for border in borders):
        return None
    to_border = [
        cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for border in borders
    ]
    distances = np.concatenate([to_border[1][borders[0]], to_border[0][borders[1]]])
    return float(100 * np.percentile(distances, 95) / np.hypot(*mask_HW.shape))
