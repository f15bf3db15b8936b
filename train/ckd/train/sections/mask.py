"""The section "mask": the clean-up that helps most on photographs that are held out, or none.

Suffixes: H rows, W columns of the photograph; N photographs, R rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import confusion_from_masks
from ckd.finding.cleanup import MaskRule
from ckd.scores.boundary import boundary_distance

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
class Tried:
    """All `RULES` on the mask of one photograph.

    Attributes:
        id: of the photograph.
        jaccards: of the cleaned mask and the truth, for each rule.
        distances: likewise, see `boundary_distance`.
    """

    id: str
    jaccards: tuple[float, ...]
    distances: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class CleanedUp:
    """What a rule does to the masks of all photographs.

    Attributes:
        rule: that was applied.
        jaccard: mean Jaccard index of mask and truth.
        boundary: mean over photographs of the 95 % boundary distance, in hundredths of the
            photograph's diagonal; photographs whose mask or truth has no border are left out.
        losses: ids of the photographs that lose, each with its loss, the largest first.
    """

    rule: MaskRule
    jaccard: float
    boundary: float
    losses: tuple[tuple[str, float], ...]


def try_rules(name: str, mask_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]) -> Tried:
    """All `RULES` on one photograph's mask, at the photograph's own size."""
    cleaned = [rule.apply(mask_HW) for rule in RULES]
    return Tried(
        name,
        tuple(confusion_from_masks(one, truth_HW).jaccard for one in cleaned),
        tuple(boundary_distance(one, truth_HW) for one in cleaned),
    )


def compare_rules(tried: Sequence[Tried]) -> list[CleanedUp]:
    """All `RULES`, in their order."""
    jaccards_NR = np.array([one.jaccards for one in tried])
    table = []
    for number, rule in enumerate(RULES):
        losses_N = jaccards_NR[:, 0] - jaccards_NR[:, number]
        losses = [(one.id, loss) for one, loss in zip(tried, losses_N.tolist(), strict=True)]
        losses = sorted((pair for pair in losses if pair[1] > 0), key=lambda pair: -pair[1])
        known = [d for one in tried if (d := one.distances[number]) is not None]
        boundary = float(np.mean(known)) if known else float("nan")
        mean = float(jaccards_NR[:, number].mean())
        table.append(CleanedUp(rule, mean, boundary, tuple(losses)))
    return table


def best_rule(table: Sequence[CleanedUp]) -> MaskRule:
    """The rule with the largest mean Jaccard index; none if it gains less than `LEAST_GAIN`."""
    best = max(table, key=lambda row: row.jaccard)
    return best.rule if best.jaccard >= table[0].jaccard + LEAST_GAIN else MaskRule()
