"""The section "probabilities": temperature and bias by likelihood on photographs held out.

A temperature is fitted in any case. A bias for each label is added where it raises the
log-likelihood of photographs that it was not fitted on by `LEAST_GAIN`; it pays where training
weighed classes, so that the networks answer as if all were as frequent.

Suffixes: N photographs, K labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ckd.contract.errors import InputError
from ckd.finding.probabilities import PRECISIONS, ProbabilityRule
from ckd.scores.reliability import log_loss
from ckd.train.sections.held import Held

#: A rule of more parameters must gain so much log-likelihood (nats) on photographs held out.
LEAST_GAIN: Final = 0.005
#: A label of fewer photographs has no probability worth the name.
LEAST_OF_LABEL: Final = 10

Fit = Callable[[Held], ProbabilityRule]


@dataclass(frozen=True, slots=True)
class Compared:
    """What each kind of rule gives on photographs that it was not fitted on.

    Attributes:
        name: "none", "temperature" or "temperature and bias".
        loss: mean negative log-likelihood.
        probabilities_NK: of all photographs, each by a rule that was fitted without it.
    """

    name: str
    loss: float
    probabilities_NK: NDArray[np.float32]


def fit_probabilities(held: Held) -> tuple[ProbabilityRule, list[Compared]]:
    """The rule of all photographs, of the kind that pays, and how the kinds compare.

    Raises:
        InputError: a label has fewer than `LEAST_OF_LABEL` photographs.
    """
    for name, count in zip(held.labels, held.truth_NK.sum(axis=0).tolist(), strict=True):
        if count < LEAST_OF_LABEL:
            raise InputError(
                f"{count} photographs of {name} were held out, expected {LEAST_OF_LABEL} at least; "
                "give the folds of a larger data set"
            )
    table = [_compared(name, fit, held) for name, fit in KINDS.items()]
    _, warm, biased = table
    chosen = biased.name if biased.loss <= warm.loss - LEAST_GAIN else warm.name
    return KINDS[chosen](held), table


def in_turn(
    fit: Fit, held: Held
) -> tuple[NDArray[np.float32], list[tuple[ProbabilityRule, NDArray[np.int64]]]]:
    """Probabilities of all photographs, each by a rule fitted without it; and these rules."""
    probabilities_NK = np.empty_like(held.logits_NK)
    rules = []
    for others, rows in held.turns():
        rule = fit(others)
        rules.append((rule, rows))
        probabilities_NK[rows] = rule.probabilities(held.logits_NK[rows])
    return probabilities_NK, rules


def _compared(name: str, fit: Fit, held: Held) -> Compared:
    probabilities_NK, _ = in_turn(fit, held)
    loss = log_loss(held.truth_NK, probabilities_NK, exclusive=held.is_exclusive)
    return Compared(name, loss, probabilities_NK)


def _rule(held: Held, temperature: float, bias_K: NDArray[Any]) -> ProbabilityRule:
    shares_K = held.truth_NK.mean(axis=0)
    return ProbabilityRule(
        labels=held.labels,
        is_exclusive=held.is_exclusive,
        # Rounded, so that what is fitted on probabilities rests on what the file says.
        temperatures=dict.fromkeys(PRECISIONS, round(temperature, 4)),
        bias_K=tuple(round(float(value), 4) for value in bias_K),
        prevalence_K=tuple(round(float(share), 6) for share in shares_K),
    )


def _as_they_come(held: Held) -> ProbabilityRule:
    return _rule(held, 1.0, np.zeros(len(held.labels)))


def _fitted(held: Held, *, with_bias: bool) -> ProbabilityRule:
    count = len(held.labels)

    def unpacked(parameters: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        bias_K = parameters[1:] if with_bias else np.zeros(count)
        if held.is_exclusive:
            bias_K = bias_K - bias_K.mean()  # softmax knows no common part
        return float(np.exp(parameters[0])), bias_K

    def loss(parameters: NDArray[Any]) -> float:
        temperature, bias_K = unpacked(parameters)
        scores_NK = held.logits_NK.astype(np.float64) / temperature + bias_K
        if held.is_exclusive:
            scores_NK -= scores_NK.max(axis=1, keepdims=True)
            said_N = scores_NK[held.truth_NK] - np.log(np.exp(scores_NK).sum(axis=1))
            return float(-said_N.mean())
        signed_NK = np.where(held.truth_NK, scores_NK, -scores_NK)
        return float(np.logaddexp(0, -signed_NK).sum(axis=1).mean())

    start = np.zeros(1 + (count if with_bias else 0))
    bounds = [(-4.0, 4.0), *[(-20.0, 20.0)] * (len(start) - 1)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    return _rule(held, *unpacked(found.x))


#: Kinds of rules by name, from few parameters to many.
KINDS: Final[dict[str, Fit]] = {
    "none": _as_they_come,
    "temperature": lambda held: _fitted(held, with_bias=False),
    "temperature and bias": lambda held: _fitted(held, with_bias=True),
}


def kind_of(rule: ProbabilityRule) -> Fit:
    """How a rule was fitted, to fit others like it."""
    return KINDS["temperature and bias" if any(rule.bias_K) else "temperature"]
