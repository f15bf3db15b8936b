"""Counts of right and wrong answers to a yes-or-no question, and rates computed from them.

The definitions are those of the official ISIC scorer (`isic_challenge_scoring`), also in edge
cases: a ratio whose denominator is 0 is 1, and thresholds are strict (``>``). Rates are fractions.

Suffixes: H rows, W columns, N samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError

Bools = NDArray[np.bool_]
Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many pixels (or images) of a yes-or-no question were right and wrong."""

    tp: int
    fn: int
    tn: int
    fp: int

    def __post_init__(self) -> None:
        counts = (self.tp, self.fn, self.tn, self.fp)
        if min(counts) < 0 or sum(counts) == 0:
            raise InputError(f"confusion: expected counts of at least one sample, got {counts}")

    @property
    def jaccard(self) -> float:
        """Intersection over union; 1 when truth and prediction are both empty."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def dice(self) -> float:
        """Twice the intersection over the sum of areas; 1 when both are empty."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def sensitivity(self) -> float:
        """Share of the positives that is predicted positive; 1 when there are none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of the negatives that is predicted negative; 1 when there are none."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def accuracy(self) -> float:
        """Share of all predictions that is right."""
        return _ratio(self.tp + self.tn, self.tp + self.fn + self.tn + self.fp)

    @property
    def ppv(self) -> float:
        """Precision: share of the predicted positives that is right; 1 when none is predicted."""
        return _ratio(self.tp, self.tp + self.fp)


def confusion_from_masks(predicted_HW: Bools, truth_HW: Bools) -> Confusion:
    """Count the pixels of two masks of one image, both at the photograph's own size.

    Raises:
        InputError: the masks differ in shape, are not boolean, or have no pixels.
    """
    predicted, truth = predicted_HW, truth_HW
    # Not by `require`: on the way of every frame, the message would take longer than the rest.
    if predicted.shape != truth.shape or not predicted.dtype == truth.dtype == np.bool_:
        raise InputError(
            f"mask: expected bool{list(truth.shape)} as the truth's size is, got "
            f"{predicted.dtype}{list(predicted.shape)} against {truth.dtype}{list(truth.shape)}"
        )
    tp = int(np.count_nonzero(predicted & truth))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Confusion(tp=tp, fn=fn, tn=truth.size - tp - fn - fp, fp=fp)


def confusion_from_scores(scores_N: Reals, positive_N: Bools, threshold: float = 0.5) -> Confusion:
    """Count samples, predicted positive where the score is above ``threshold``.

    The comparison is strict, as in the official scorer; CKDNet's own code has ``>=``.
    """
    check_scores(scores_N, positive_N)
    return confusion_from_masks(np.asarray(scores_N > threshold), positive_N)


def threshold_jaccard(jaccard: float, threshold: float = 0.65) -> float:
    """The Jaccard index, or 0 where it is below ``threshold`` (ISIC 2018 Task 1).

    An index of exactly the threshold is kept, as in the official scorer and CKDNet's code; Eq. 10
    of the CKDNet paper would give 0.
    """
    return jaccard if jaccard >= threshold else 0.0


def check_scores(scores_N: Reals, positive_N: Bools) -> None:
    """Raise `InputError` unless there is one floating-point score and one truth per sample."""
    require(
        scores_N.ndim == 1 and scores_N.size > 0 and scores_N.shape == positive_N.shape,
        f"scores: expected one a sample, got {scores_N.shape} for {positive_N.shape} samples",
    )
    require(positive_N.dtype == np.bool_, f"truth: expected bool, got {positive_N.dtype}")
    require(
        scores_N.dtype.kind == "f" and not np.isnan(scores_N).any(),
        f"scores: expected floating-point numbers without nan, got {scores_N.dtype}",
    )


def require(holds: bool | np.bool_, message: str) -> None:
    """Raise `InputError` with ``message`` unless ``holds``."""
    if not holds:
        raise InputError(message)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
