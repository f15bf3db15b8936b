"""What an answer comes to, so that the answers of two engines or two bundles can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.finding.decision import Decider, Decision

#: What may change from one answer to another.
PARTS: Final = ("label", "decision", "referral")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer comes to; None where it says nothing of the kind.

    Attributes:
        label: most probable one by what the networks said, or None if no question is answered yes.
        decision: whether it is flagged; None without a finding or without operating points.
        referral: whether a referral is suggested; likewise.
    """

    label: str | None
    decision: bool | None
    referral: bool | None

    @classmethod
    def of(cls, label: str | None, decision: Decision | None) -> "Verdict":
        """The verdict of a finding."""
        if decision is None:
            return cls(label, None, None)
        return cls(label, decision.flagged, decision.refer)

    def changed(self, other: "Verdict") -> tuple[str, ...]:
        """The `PARTS` in which two verdicts differ."""
        return tuple(part for part in PARTS if getattr(self, part) != getattr(other, part))


@dataclass(frozen=True, slots=True)
class Steps:
    """How far the numbers of two engines may lie apart.

    Attributes:
        probability: of a label.
        agreement: of the two masks, as a Jaccard index.
        distance: from the training photographs, as a share of the threshold.
    """

    probability: float
    agreement: float
    distance: float = 1 / 30


def firm_parts(
    decider: Decider,
    decision: Decision | None,
    probabilities: Mapping[str, float],
    quality: Mapping[str, float],
    features_D: NDArray[np.float32] | None,
    steps: Steps,
    count: float = 3.0,
) -> tuple[str, ...]:
    """The parts of a verdict that would not change if every number moved by ``count`` steps.

    Args:
        decider: of the bundle.
        decision: that it made.
        probabilities: by label, those that it decided by, or raw ones if it has no rule for them.
        quality: of the finding.
        features_D: of the classifier, or None.
        steps: the size of a step of each kind of number.
        count: how many steps.
    """
    firm = []
    first, second = (sorted([*probabilities.values(), 0.0, 0.0], reverse=True))[:2]
    if first - second >= count * steps.probability:
        firm.append("label")
    if decision is None:
        return tuple(firm)
    margins = _margins(decider, probabilities, quality, features_D, steps)
    if margins["flagged"] >= count:
        firm.append("decision")
    given = [margins[code] for code in decision.reasons]
    if max(given) >= count if given else min(margins.values()) >= count:
        firm.append("referral")
    return tuple(firm)


def _margins(
    decider: Decider,
    probabilities: Mapping[str, float],
    quality: Mapping[str, float],
    features_D: NDArray[np.float32] | None,
    steps: Steps,
) -> dict[str, float]:
    """Steps by which each code that the bundle judges is given or not."""
    point, sets, doubts = decider.point, decider.sets, decider.doubts
    assert decider.points is not None
    assert point is not None
    target = decider.points.target
    margins = {"flagged": abs(probabilities[target] - point.at_least) / steps.probability}
    if sets is not None:
        above = {name: value - sets.at_least[name] for name, value in probabilities.items()}
        margins["set_holds_target"] = abs(above[target]) / steps.probability
        # It is empty while all lie below, and is not while the highest lies above.
        margins["set_empty"] = abs(max(above.values())) / steps.probability
    if doubts.masks_agree is not None and "mask_agreement" in quality:
        margins["masks_disagree"] = (
            abs(quality["mask_agreement"] - doubts.masks_agree) / steps.agreement
        )
    if doubts.space is not None and doubts.unlike_above is not None and features_D is not None:
        beyond = abs(doubts.space.distance(features_D) - doubts.unlike_above)
        margins["unlike_training"] = beyond / (steps.distance * doubts.unlike_above or 1.0)
    return margins
