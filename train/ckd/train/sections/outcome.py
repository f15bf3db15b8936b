"""The section "outcome": scores that tell photographs of lesions from other pictures, fitted.

For each code a logistic regression on the figures of the masks separates photographs from pictures
of its kind. The score that a picture must reach is the one that all but `LOST` of the photographs
reach. How many lose their answer, and how many of the others get none, is counted in turn on
pictures that weights and threshold were not fitted on.

Suffixes: N pictures, F figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from ckd.finding.outcome import FITTED_CODES, LinearScore, OutcomeRule
from ckd.train.sections.answered import Answered, sign_table
from ckd.train.sections.held import TURNS

#: Kinds of pictures that a code is fitted against.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "no_skin": ("things", "noise", "cloth", "print"),
    "no_lesion": ("bare skin", "generated skin"),
}
PHOTOGRAPH: Final = "photograph"
#: Share of the photographs that each code may take the answer of.
LOST: Final = 0.0015


@dataclass(frozen=True, slots=True)
class Judged:
    """A picture with what it is.

    Attributes:
        kind: `PHOTOGRAPH`, or a kind of `ckd.train.sections.pictures`.
        source: pictures of one source are fitted on together or not at all.
        group: of the photographs, the tone of the skin; otherwise the kind.
        answered: what the networks said.
    """

    kind: str
    source: str
    group: str
    answered: Answered


def fit_outcome(pictures: Sequence[Judged]) -> OutcomeRule:
    """The rule of all pictures, among which are photographs and every kind of `KINDS`."""
    photographs = [one for one in pictures if one.kind == PHOTOGRAPH]
    names = [*photographs[0].answered.signs]
    photographs_NF = sign_table([one.answered for one in photographs])
    scores = {}
    for code in FITTED_CODES:
        others = [one.answered for one in pictures if one.kind in KINDS[code]]
        weights_F = _direction(photographs_NF, sign_table(others))
        reached_N = np.sort(photographs_NF @ weights_F)
        # Of fewer than 667 photographs the lowest, of 1330 the second.
        at_least = float(reached_N[int(LOST * len(reached_N))])
        weights = {name: float(w) for name, w in zip(names, weights_F, strict=True)}
        scores[code] = LinearScore(weights, at_least - 1e-9)
    return OutcomeRule(scores)


def codes_in_turn(pictures: Sequence[Judged]) -> list[str | None]:
    """The code that each picture gets by a rule that was fitted without it; None for an answer."""
    sources = np.array([one.source for one in pictures])
    codes: list[str | None] = [None] * len(pictures)
    for kept, left in GroupKFold(TURNS).split(sources, groups=sources):
        rule = fit_outcome([pictures[i] for i in kept])
        for index in left:
            codes[index] = code_of(rule, pictures[index].answered)
    return codes


def code_of(rule: OutcomeRule, picture: Answered) -> str | None:
    """The code that a picture gets, as `ckd.finding.finder` gives it; None for an answer."""
    if picture.is_blank:
        return "blank"
    reason = rule.reason(picture.signs, is_outlined=picture.is_outlined)
    return None if reason is None else reason.code


def _direction(
    photographs_NF: NDArray[np.float64], others_NF: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of the figures as they are; a large score is that of a photograph."""
    both_NF = np.concatenate([photographs_NF, others_NF])
    is_photograph_N = np.arange(len(both_NF)) < len(photographs_NF)
    scale = StandardScaler().fit(both_NF)
    model = LogisticRegression(class_weight="balanced", max_iter=5000)
    model.fit(scale.transform(both_NF), is_photograph_N)
    return np.asarray(model.coef_[0] / scale.scale_, np.float64)
