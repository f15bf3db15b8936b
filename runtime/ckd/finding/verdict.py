"""What an answer comes to, so that the answers of two engines or two bundles can be compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.finding.answers import most_probable
from ckd.finding.decision import Decider, Decision

#: What may change from one answer to another.
PARTS: Final = ("label", "decision", "referral")
#: Of a smaller probability no logit is asked.
_LEAST: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer comes to; None where it says nothing of the kind.

    Attributes:
        label: most probable one as it is shown; None without a finding, or if no question is
            answered yes.
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
        probability: of a label, as the networks say it.
        agreement: of the two masks, as a Jaccard index.
        distance: from the training photographs, as a share of the threshold.
    """

    probability: float
    agreement: float
    distance: float = 1 / 30


def firm_parts(
    decider: Decider,
    raw: Mapping[str, float],
    quality: Mapping[str, float],
    features_D: NDArray[np.float32] | None,
    steps: Steps,
    precision: str = "fp32",
    *,
    exclusive: bool = True,
    count: float = 3.0,
) -> tuple[str, ...]:
    """The parts of a verdict that would not change if every number moved by ``count`` steps.

    Steps are of what networks say, and decisions rest on what is made of it: so each probability
    is moved as it comes, and decided on anew.

    Args:
        decider: of the bundle.
        raw: probabilities by label, as the networks say them.
        quality: of the finding.
        features_D: of the classifier, or None.
        steps: the size of a step of each kind of number.
        precision: that the networks computed in.
        exclusive: labels exclude each other.
        count: how many steps.
    """
    if not raw:
        return ("label",)  # there is none, and no engine makes one
    moved = [*_moved(raw, count * steps.probability, exclusive)]
    firm = []
    fitted = [_fitted(decider, one, precision) for one in moved]
    if len({most_probable(one, exclusive) for one in fitted}) == 1:
        firm.append("label")
    decisions = [decider.decision(one, {}, None) for one in fitted]
    known = [decision for decision in decisions if decision is not None]
    if not known:
        return tuple(firm)
    if len({decision.flagged for decision in known}) == 1:
        firm.append("decision")
    by_probability = {decision.refer for decision in known}
    doubts = _doubts(decider, quality, features_D, steps)
    is_given = by_probability == {True} or any(beyond >= count for beyond in doubts)
    is_not_given = by_probability == {False} and all(beyond <= -count for beyond in doubts)
    if is_given or is_not_given:
        firm.append("referral")
    return tuple(firm)


def _moved(raw: Mapping[str, float], by: float, exclusive: bool) -> Iterator[Mapping[str, float]]:
    """The probabilities, and with each of them moved up and down; others keep their proportions."""
    yield raw
    for label, value in raw.items():
        for new in (max(value - by, 0.0), min(value + by, 1.0)):
            rest = 1.0
            if exclusive:
                rest = (1 - new) / (1 - value) if value < 1 else 0.0
            yield {name: new if name == label else rest * one for name, one in raw.items()}


def _fitted(decider: Decider, raw: Mapping[str, float], precision: str) -> Mapping[str, float]:
    """What is decided on, of probabilities as they come."""
    rule = decider.rule
    if rule is None:
        return raw
    raw_K = np.clip([*raw.values()], _LEAST, 1 - _LEAST)
    logits_K = np.log(raw_K) if rule.is_exclusive else np.log(raw_K / (1 - raw_K))
    return dict(zip(raw, rule.probabilities(logits_K, precision).tolist(), strict=True))


def _doubts(
    decider: Decider,
    quality: Mapping[str, float],
    features_D: NDArray[np.float32] | None,
    steps: Steps,
) -> list[float]:
    """Of each doubt that the bundle judges, by how many steps it is given; below 0 it is not."""
    doubts, found = decider.doubts, []
    if doubts.masks_agree is not None and "mask_agreement" in quality:
        found.append((doubts.masks_agree - quality["mask_agreement"]) / steps.agreement)
    if doubts.space is not None and doubts.unlike_above is not None and features_D is not None:
        beyond = doubts.space.distance(features_D) - doubts.unlike_above
        found.append(beyond / (steps.distance * doubts.unlike_above or 1.0))
    return found
