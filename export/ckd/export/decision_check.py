"""How a bundle decides on photographs that nothing was fitted on, for its model card.

Suffixes: N photographs, K labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.binomial import exact_interval
from ckd.contract.labels import lesion_name
from ckd.data.samples import SampleSet
from ckd.finding.decision import Decider
from ckd.finding.finding import Finding
from ckd.scores.estimates import NOT_ASSESSED
from ckd.scores.ranking import roc_auc
from ckd.scores.reliability_text import (
    CALIBRATION_WORDS,
    Calibrated,
    Said,
    calibration_table,
    mended_text,
)
from ckd.train.sections.decision_report import held_range
from ckd.train.sections.refer import DOUBTED

#: Codes whose thresholds a stated share of the photographs held out lay beyond.
_AS_FITTED: Final = dict.fromkeys(
    ("masks_disagree", "unlike_training"), f", {DOUBTED:.0%} of those held out"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many, with the exact 95 % interval of the share."""

    count: int
    total: int

    @property
    def share(self) -> float | None:
        """None of nothing."""
        return self.count / self.total if self.total else None

    def __str__(self) -> str:
        if not self.total:
            return NOT_ASSESSED
        low, high = exact_interval(self.count, self.total)
        return (
            f"{self.count / self.total:.3f} ({low:.3f} to {high:.3f}; {self.count} of {self.total})"
        )


@dataclass(frozen=True, slots=True)
class DecisionCheck:
    """What a bundle's decisions come to on photographs with a diagnosis.

    Attributes:
        target: the label that is looked for.
        points: by name, sensitivity, specificity, and share referred of those with an answer.
        covered: by label, how often the set holds it; empty without sets.
        expected: by label, 5 % to 95 % range of that count by the law of the sets.
        referred: by reason, and "any"; of all photographs that got an answer.
        missed: targets among those that are not referred; of all targets.
        said: probabilities as the networks say them, and as fitted.
        unanswered: photographs with a diagnosis that get no finding.
        temperatures: by precision, that logits are divided by.
    """

    target: str
    points: dict[str, tuple[Rate, Rate, Rate]]
    covered: dict[str, Rate]
    expected: dict[str, tuple[int, int]]
    referred: dict[str, Rate]
    missed: Rate
    said: tuple[Said, Said]
    unanswered: int
    temperatures: Mapping[str, float]


def check_decisions(
    decider: Decider, findings: Sequence[Finding], samples: SampleSet
) -> DecisionCheck | None:
    """The check; None for a bundle that does not decide, or photographs without a diagnosis.

    A photograph without a finding counts as one that is not flagged, not referred and in no set.

    Args:
        decider: of the bundle.
        findings: of each sample, at the default operating point.
        samples: with labels numbered as the bundle's.
    """
    rule, points = decider.rule, decider.points
    if rule is None or points is None:
        return None
    known = [
        (finding, sample.label, sample.group or sample.id)
        for finding, sample in zip(findings, samples.samples, strict=True)
        if sample.label is not None
    ]
    if not known:
        return None
    label_N = np.array([label for _, label, _ in known])
    truth_NK = label_N[:, None] == np.arange(len(rule.labels))
    target_N = truth_NK[:, rule.labels.index(points.target)]
    said_N = np.array([f.probabilities.get(points.target, 0.0) for f, *_ in known])
    decisions = [finding.decision for finding, *_ in known]

    def rate(yes_N: NDArray[np.bool_], of_N: NDArray[np.bool_]) -> Rate:
        return Rate(int(np.count_nonzero(yes_N & of_N)), int(np.count_nonzero(of_N)))

    answered_N = np.array([decision is not None for decision in decisions])
    referred_N = np.array([decision is not None and decision.refer for decision in decisions])
    given = [set() if decision is None else {*decision.reasons} for decision in decisions]
    otherwise_N = np.array([bool(reasons - {"flagged"}) for reasons in given])
    referred = {
        code: rate(np.array([code in reasons for reasons in given]), answered_N)
        for code in decider.codes
    }
    sets = decider.sets
    covered: dict[str, Rate] = {}
    expected: dict[str, tuple[int, int]] = {}
    for label in rule.labels if sets is not None else ():
        assert sets is not None
        holds_N = np.array([d is not None and label in (d.label_set or ()) for d in decisions])
        covered[label] = rate(holds_N, truth_NK[:, rule.labels.index(label)])
        expected[label] = held_range(sets.counted[label], covered[label].total, sets.error_rate)
    raw_NK = np.array([[*finding.raw.probabilities.values()] for finding, *_ in known])
    own = [(f.probabilities or f.raw.probabilities).values() for f, *_ in known]
    before = Said(
        truth_NK=truth_NK,
        probabilities_NK=raw_NK,
        source_N=np.unique([source for *_, source in known], return_inverse=True)[1],
        labels=rule.labels,
        target=points.target,
        is_exclusive=rule.is_exclusive,
    )
    return DecisionCheck(
        target=points.target,
        points={
            name: (
                rate(said_N >= point.at_least, target_N),
                rate(said_N < point.at_least, ~target_N),
                rate((said_N >= point.at_least) | otherwise_N, answered_N),
            )
            for name, point in points.points.items()
        },
        covered=covered,
        expected=expected,
        referred={**referred, "any": rate(referred_N, answered_N)},
        missed=rate(~referred_N, target_N),
        said=(before, replace(before, probabilities_NK=np.array([[*values] for values in own]))),
        unanswered=int(np.count_nonzero(~answered_N)),
        temperatures=rule.temperatures,
    )


def _auc(said: Said) -> str:
    is_target_N, probability_N = said.judged()[1]
    auc = roc_auc(probability_N, is_target_N)
    return NOT_ASSESSED if math.isnan(auc) else f"{auc:.3f}"


def check_text(check: DecisionCheck) -> str:
    """The check in words, for a model card."""
    name, (before, after) = lesion_name(check.target), check.said
    calibrated = Calibrated.of(before), Calibrated.of(after)
    lines = [
        *calibration_table({"none": calibrated[0], "as fitted": calibrated[1]}),
        "",
        f"AUC of {check.target} {_auc(before)} as it comes, {_auc(after)} as fitted. "
        f"{' '.join(mended_text(*calibrated))} Logits are divided by "
        f"{', '.join(f'{value:.3f} in {kind}' for kind, value in check.temperatures.items())}. "
        f"{CALIBRATION_WORDS}",
        "",
        f"| point | sensitivity for {name} | specificity | referred |",
        "|---|---|---|---|",
        *(f"| {point} | {' | '.join(map(str, rates))} |" for point, rates in check.points.items()),
        "",
        "A referral rests on other reasons, too, which are the same at every point.",
        "",
    ]
    if check.covered:
        lines += ["| label | sets that hold it | expected (5 % to 95 %) |", "|---|---|---|"]
        for label, rate in check.covered.items():
            low, high = check.expected[label]
            lines.append(f"| {label} | {rate} | {low} to {high} of {rate.total} |")
        lines.append("")
    reasons = "; ".join(
        f"{code} {rate.share:.1%}{_AS_FITTED.get(code, '')}"
        for code, rate in check.referred.items()
        if code != "any" and rate.share is not None
    )
    lines.append(
        f"Referred: {check.referred['any']} ({reasons}). Not referred: {check.missed.count} of "
        f"{check.missed.total} photographs of {name}."
    )
    if check.unanswered:
        lines[-1] += (
            f" Of {check.unanswered} without an answer none counts as flagged, referred or in a "
            "set; shares of those referred are of the others."
        )
    return "\n".join(lines)
