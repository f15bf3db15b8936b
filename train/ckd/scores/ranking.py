"""How well scores rank positives above negatives: ROC and precision-recall curves and their areas.

The definitions are those of the official ISIC scorer with one difference: the area under a curve is
nan if all samples are of one class, where that package warns or fails.

Suffixes: N samples, T thresholds in descending order.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import Bools, Reals, check_scores


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Rates if scores at or above each threshold are positive; at the first (inf) none is."""

    false_positive_rate_T: Reals
    true_positive_rate_T: Reals
    thresholds_T: Reals


@dataclass(frozen=True, slots=True)
class PrecisionRecallCurve:
    """Points as in `RocCurve`; at inf, where no score is positive, precision is 1 and recall 0."""

    precision_T: Reals
    recall_T: Reals
    thresholds_T: Reals


def roc_curve(scores_N: Reals, positive_N: Bools) -> RocCurve:
    """Receiver operating characteristic; a rate is nan if it has no samples."""
    tp_T, fp_T, thresholds_T = _counts_by_threshold(scores_N, positive_N)
    return RocCurve(_share(fp_T), _share(tp_T), thresholds_T)


def roc_auc(scores_N: Reals, positive_N: Bools) -> float:
    """Probability that a positive scores above a negative; equal scores count half.

    This is the area under the ROC curve (Mann-Whitney). It is nan without positives or negatives.
    """
    tp_T, fp_T, _ = _counts_by_threshold(scores_N, positive_N)
    pairs = int(tp_T[-1]) * int(fp_T[-1])
    twice_won = int(np.sum(np.diff(fp_T) * (tp_T[1:] + tp_T[:-1])))  # trapezoids, whole numbers
    return twice_won / (2 * pairs) if pairs else math.nan


def precision_recall_curve(scores_N: Reals, positive_N: Bools) -> PrecisionRecallCurve:
    """Precision against recall; recall is nan if there are no positives."""
    tp_T, fp_T, thresholds_T = _counts_by_threshold(scores_N, positive_N)
    precision_T = np.append(1.0, tp_T[1:] / (tp_T[1:] + fp_T[1:]))
    return PrecisionRecallCurve(precision_T, _share(tp_T), thresholds_T)


def average_precision(scores_N: Reals, positive_N: Bools) -> float:
    """Precision at each threshold weighted by the recall gained there, without interpolation.

    The CKDNet authors print it as "PPV". It is nan without positives or negatives.
    """
    curve = precision_recall_curve(scores_N, positive_N)
    if positive_N.all() or not positive_N.any():
        return math.nan
    return float(np.sum(np.diff(curve.recall_T) * curve.precision_T[1:]))


def _counts_by_threshold(
    scores_N: Reals, positive_N: Bools
) -> tuple[NDArray[np.int64], NDArray[np.int64], Reals]:
    """True and false positives at or above inf and then each distinct score, largest first."""
    check_scores(scores_N, positive_N)
    order = np.argsort(-scores_N)
    sorted_N = scores_N[order].astype(np.float64)
    last_T = np.append(np.flatnonzero(sorted_N[1:] != sorted_N[:-1]), len(order) - 1)
    tp_T = np.cumsum(positive_N[order], dtype=np.int64)[last_T]
    return np.append(0, tp_T), np.append(0, last_T + 1 - tp_T), np.append(np.inf, sorted_N[last_T])


def _share(counts_T: NDArray[np.int64]) -> Reals:
    total = int(counts_T[-1])
    return counts_T / total if total else np.full(len(counts_T), np.nan)
