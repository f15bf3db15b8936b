"""Whether probabilities mean what they say: likelihood, calibration error, and its own bias.

Suffixes: N samples, K classes, B bins.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]
Truth = NDArray[np.bool_]

NUM_BINS: Final = 15
_DRAWS: Final = 200


@dataclass(frozen=True, slots=True)
class Bin:
    """Samples of like probability.

    Attributes:
        said: their mean probability.
        happened: share of them that is positive.
        count: how many they are.
    """

    said: float
    happened: float
    count: int


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """How far a set of probabilities is from meaning what it says, over bins of equal mass.

    Attributes:
        error: mean distance of what was said and what happened, the expected calibration error.
        bias: what ``error`` would be for perfect probabilities of so many samples; never 0, as each
            bin holds few. It is no part of the error of others: the larger that is, the less the
            chance in each bin adds to it.
        at_most: what ``error`` would exceed in one case of twenty for perfect probabilities.
        debiased: root of the mean squared distance less what chance adds to the square, which is
            without bias at any error (Bröcker 2012, "Estimating reliability and resolution of
            probability forecasts"; Kumar et al. 2019, "Verified Uncertainty Calibration"); 0 if
            chance explains all of it. A root mean square is no less than a mean distance.
    """

    error: float
    bias: float
    at_most: float
    debiased: float


def log_loss(truth_NK: Truth, probabilities_NK: Probabilities, *, exclusive: bool) -> float:
    """Mean negative log-likelihood, in nats.

    Args:
        truth_NK: True for the labels that are true.
        probabilities_NK: of each label.
        exclusive: one label is true of each sample; otherwise the sum over questions.
    """
    p_NK = np.clip(np.asarray(probabilities_NK, np.float64), 1e-12, 1.0)
    said_NK = np.where(truth_NK, np.log(p_NK), 0.0)
    if not exclusive:
        said_NK = np.where(truth_NK, said_NK, np.log(np.clip(1 - p_NK, 1e-12, 1.0)))
    return float(-said_NK.sum(axis=1).mean())


def brier_score(truth_NK: Truth, probabilities_NK: Probabilities) -> float:
    """Mean squared distance of probabilities and truth, summed over labels (Brier 1950)."""
    return float(np.square(probabilities_NK - truth_NK).sum(axis=1).mean())


def reliability_bins(
    positive_N: Truth, probability_N: Probabilities, num_bins: int = NUM_BINS
) -> list[Bin]:
    """Bins of equal mass, from improbable to probable; fewer where there are few samples."""
    order = np.argsort(probability_N, kind="stable")
    parts = np.array_split(order, min(num_bins, len(order)))
    return [
        Bin(float(probability_N[part].mean()), float(positive_N[part].mean()), len(part))
        for part in parts
        if len(part)
    ]


def calibration_error(
    positive_N: Truth, probability_N: Probabilities, num_bins: int = NUM_BINS, seed: int = 0
) -> CalibrationError:
    """The error in bins of equal mass, its bias at this number of samples, and one without bias.

    The bias is the mean error of outcomes that were drawn from the probabilities themselves, 200
    times: large for few samples (Roelofs et al. 2022, "Mitigating Bias in Calibration Error
    Estimation").
    """
    rng = np.random.default_rng(seed)
    draws = [
        expected_calibration_error(
            rng.random(len(probability_N)) < probability_N, probability_N, num_bins
        )
        for _ in range(_DRAWS)
    ]
    squared = debiased_square(positive_N, probability_N, num_bins)
    return CalibrationError(
        error=expected_calibration_error(positive_N, probability_N, num_bins),
        bias=float(np.mean(draws)),
        at_most=float(np.quantile(draws, 0.95)),
        debiased=float(np.sqrt(max(0.0, squared))),
    )


def debiased_square(
    positive_N: Truth, probability_N: Probabilities, num_bins: int = NUM_BINS, drawn: int = 1
) -> float:
    """Mean squared distance of what was said and what happened, less what chance adds to it.

    Args:
        positive_N: what happened.
        probability_N: what was said.
        num_bins: of equal mass.
        drawn: how often the samples were drawn: 2 for those of a bootstrap, which were drawn from
            samples that were drawn, so that chance was added twice.
    """
    bins = reliability_bins(positive_N, probability_N, num_bins)
    squares = [
        one.count
        * (
            (one.said - one.happened) ** 2
            - drawn * one.happened * (1 - one.happened) / (one.count - 1)
        )
        for one in bins
        if one.count > 1
    ]
    return float(sum(squares) / len(probability_N))


def expected_calibration_error(
    positive_N: Truth, probability_N: Probabilities, num_bins: int = NUM_BINS
) -> float:
    """Mean distance of what was said and what happened, over bins of equal mass."""
    bins = reliability_bins(positive_N, probability_N, num_bins)
    return sum(one.count * abs(one.said - one.happened) for one in bins) / len(probability_N)


def top_label(truth_NK: Truth, probabilities_NK: Probabilities) -> tuple[Truth, Probabilities]:
    """Whether the most probable label is true, and its probability, for each sample."""
    top_N = probabilities_NK.argmax(axis=1)
    rows = np.arange(len(top_N))
    return truth_NK[rows, top_N], probabilities_NK[rows, top_N]
