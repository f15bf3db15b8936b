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
    """The expected calibration error of a set of probabilities.

    Attributes:
        error: mean distance of what was said and what happened, over bins of equal mass.
        bias: what this would be for perfect probabilities of so many samples; never 0, as each bin
            holds few.
    """

    error: float
    bias: float

    @property
    def debiased(self) -> float:
        """The error less its bias, 0 at least."""
        return max(0.0, self.error - self.bias)


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
    """The error of bins of equal mass, and its bias at this number of samples.

    The bias is the mean error of outcomes that were drawn from the probabilities themselves, 200
    times. It is what Roelofs et al. 2022 ("Mitigating Bias in Calibration Error Estimation") show
    to be large for few samples; they sweep the bins where we subtract it.
    """
    rng = np.random.default_rng(seed)
    draws = [
        _error(rng.random(len(probability_N)) < probability_N, probability_N, num_bins)
        for _ in range(_DRAWS)
    ]
    error = _error(np.asarray(positive_N), probability_N, num_bins)
    return CalibrationError(error, float(np.mean(draws)))


def top_label(truth_NK: Truth, probabilities_NK: Probabilities) -> tuple[Truth, Probabilities]:
    """Whether the most probable label is true, and its probability, for each sample."""
    top_N = probabilities_NK.argmax(axis=1)
    rows = np.arange(len(top_N))
    return truth_NK[rows, top_N], probabilities_NK[rows, top_N]


def _error(positive_N: Truth, probability_N: Probabilities, num_bins: int) -> float:
    bins = reliability_bins(positive_N, probability_N, num_bins)
    return sum(one.count * abs(one.said - one.happened) for one in bins) / len(probability_N)
