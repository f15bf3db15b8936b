"""The sections "points" and "sets": thresholds on probabilities, fitted on photographs held out.

Suffixes: N photographs, K labels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.finding.label_sets import LabelSets, conformal_rank
from ckd.finding.operating_points import NAMES, OperatingPoint, OperatingPoints
from ckd.finding.probabilities import ProbabilityRule
from ckd.train.sections.held import Held

SENSITIVITY: Final = 0.90
SPECIFICITY: Final = 0.95
ERROR_RATE: Final = 0.1
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Counted:
    """What sets do on photographs of a label that they were not fitted on.

    Attributes:
        label: of the photographs.
        held: photographs whose set holds it.
        total: photographs of it.
        mean_size: mean number of labels in their sets.
    """

    label: str
    held: int
    total: int
    mean_size: float


def fit_points(
    probability_N: NDArray[np.float32], target_N: NDArray[np.bool_]
) -> dict[str, OperatingPoint]:
    """The three points of the target's probabilities, by name.

    A threshold lies between two probabilities that were seen, so that neither is at its edge.
    """
    seen_T = np.unique(probability_N.astype(np.float64))
    cuts_T = np.concatenate([[seen_T[0] / 2], (seen_T[1:] + seen_T[:-1]) / 2, [1.0]])
    cuts_T = np.unique(cuts_T.round(_DIGITS))  # as a bundle says them; counted by these
    targets, others = np.sort(probability_N[target_N]), np.sort(probability_N[~target_N])
    found_T = len(targets) - np.searchsorted(targets, cuts_T)
    spared_T = np.searchsorted(others, cuts_T)
    sensitivity_T, specificity_T = found_T / len(targets), spared_T / len(others)
    rows = {
        "screening": int(np.flatnonzero(sensitivity_T >= SENSITIVITY)[-1]),
        "balanced": int((sensitivity_T + specificity_T).argmax()),
        "specific": int(np.flatnonzero(specificity_T >= SPECIFICITY)[0]),
    }
    return {
        name: OperatingPoint(
            name,
            float(cuts_T[rows[name]]),
            int(found_T[rows[name]]),
            len(targets),
            int(spared_T[rows[name]]),
            len(others),
        )
        for name in NAMES
    }


def points_of(held: Held, rule: ProbabilityRule, target: str) -> OperatingPoints:
    """The points of all photographs."""
    column = held.labels.index(target)
    probability_N = rule.probabilities(held.logits_NK)[:, column]
    points = fit_points(probability_N, held.truth_NK[:, column])
    return OperatingPoints(target, "screening", points, rule.mark)


def points_in_turn(
    held: Held, fit: Callable[[Held], ProbabilityRule], target: str
) -> dict[str, OperatingPoint]:
    """What each point does on photographs that neither it nor the probabilities were fitted on.

    The thresholds are means over the turns.
    """
    column = held.labels.index(target)
    cuts: dict[str, list[float]] = {name: [] for name in NAMES}
    counts = {name: np.zeros(4, np.int64) for name in NAMES}
    for others, rows in held.turns():
        rule = fit(others)
        # As Python's floats, which the runtime compares with the threshold.
        probability_N = rule.probabilities(held.logits_NK[rows])[:, column].astype(np.float64)
        target_N = held.truth_NK[rows, column]
        for name, point in points_of(others, rule, target).points.items():
            flagged_N = probability_N >= point.at_least
            cuts[name].append(point.at_least)
            parts = (flagged_N & target_N, target_N, ~flagged_N & ~target_N, ~target_N)
            counts[name] += np.array([np.count_nonzero(part_N) for part_N in parts])
    return {
        name: OperatingPoint(name, sum(cuts[name]) / len(cuts[name]), *counts[name].tolist())
        for name in NAMES
    }


def sets_of(held: Held, rule: ProbabilityRule, error_rate: float = ERROR_RATE) -> LabelSets:
    """The sets of all photographs; labels exclude each other."""
    probabilities_NK = rule.probabilities(held.logits_NK)
    at_least, counted = {}, {}
    for column, name in enumerate(held.labels):
        own = np.sort(probabilities_NK[held.truth_NK[:, column], column])[::-1]
        rank = conformal_rank(len(own), error_rate)
        # Rounded down, so that the photograph at the threshold stays in.
        reached = float(own[rank - 1]) if rank <= len(own) else 0.0
        at_least[name] = math.floor(reached * 10**_DIGITS) / 10**_DIGITS
        counted[name] = len(own)
    return LabelSets(error_rate, at_least, counted, rule.mark)


def sets_in_turn(
    held: Held, fit: Callable[[Held], ProbabilityRule], error_rate: float = ERROR_RATE
) -> list[Counted]:
    """How often sets hold the true label of photographs that they were not fitted on."""
    in_set_NK = np.zeros((len(held), len(held.labels)), bool)
    for others, rows in held.turns():
        rule = fit(others)
        sets = sets_of(others, rule, error_rate)
        cuts_K = np.array([sets.at_least[name] for name in held.labels])
        in_set_NK[rows] = rule.probabilities(held.logits_NK[rows]) >= cuts_K
    table = []
    for column, name in enumerate(held.labels):
        own_NK = in_set_NK[held.truth_NK[:, column]]
        sizes_N = own_NK.sum(axis=1)
        table.append(
            Counted(name, int(own_NK[:, column].sum()), len(own_NK), float(sizes_N.mean()))
        )
    return table
