"""Scores of masks and diagnoses, by the definitions of the official ISIC scorer.

Source: the `isic_challenge_scoring` package, whose edge rules are kept: a ratio with nothing to
count is 1, thresholds are strict (``>``), tied maxima are wrong. One departure: the area under a
curve over a single class is nan, where that package warns or fails.

"PPV" as the CKDNet authors print it for ISIC 2017 is `average_precision`; precision at 0.5 is
`Confusion.ppv` (models.md 1.7). All scores are fractions in [0, 1].

Suffixes: H rows, W columns, N samples, K classes, T thresholds, falling.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError, UsageError

Bools = NDArray[np.bool_]
Indices = NDArray[np.integer[Any]]
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
        """Share of the positives that was found; 1 when there are none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of the negatives that was left alone; 1 when there are none."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def accuracy(self) -> float:
        """Share of all that is right."""
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
    _require(
        predicted.shape == truth.shape and predicted.dtype == truth.dtype == np.bool_,
        f"mask: expected bool{list(truth.shape)} as the truth's size is, got "
        f"{predicted.dtype}{list(predicted.shape)} against {truth.dtype}{list(truth.shape)}",
    )
    tp = int(np.count_nonzero(predicted & truth))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Confusion(tp=tp, fn=fn, tn=truth.size - tp - fn - fp, fp=fp)


def confusion_from_scores(scores_N: Reals, positive_N: Bools, threshold: float = 0.5) -> Confusion:
    """Count samples, predicted positive where the score is above ``threshold``.

    Strictly above, as the official scorer; CKDNet's own code has ``>=``.
    """
    _check_scores(scores_N, positive_N)
    return confusion_from_masks(np.asarray(scores_N > threshold), positive_N)


def threshold_jaccard(jaccard: float, threshold: float = 0.65) -> float:
    """The Jaccard index, or 0 where it is below ``threshold`` (ISIC 2018 Task 1).

    At exactly the threshold the index stands, as in the official scorer and CKDNet's code; Eq. 10
    of the CKDNet paper would give 0.
    """
    return jaccard if jaccard >= threshold else 0.0


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Rates where scores at or above each threshold are positive; the first (inf) is none."""

    false_positive_rate_T: Reals
    true_positive_rate_T: Reals
    thresholds_T: Reals


@dataclass(frozen=True, slots=True)
class PrecisionRecallCurve:
    """Points as in `RocCurve`; at inf, with none positive, precision is 1 and recall 0."""

    precision_T: Reals
    recall_T: Reals
    thresholds_T: Reals


def roc_curve(scores_N: Reals, positive_N: Bools) -> RocCurve:
    """Receiver operating characteristic; a rate over no samples is nan."""
    tp_T, fp_T, thresholds_T = _counts_by_threshold(scores_N, positive_N)
    return RocCurve(_share(fp_T), _share(tp_T), thresholds_T)


def roc_auc(scores_N: Reals, positive_N: Bools) -> float:
    """The chance that a positive scores above a negative; equal scores count half.

    This is the area under the ROC curve (Mann-Whitney). nan without positives or negatives.
    """
    tp_T, fp_T, _ = _counts_by_threshold(scores_N, positive_N)
    pairs = int(tp_T[-1]) * int(fp_T[-1])
    twice_won = int(np.sum(np.diff(fp_T) * (tp_T[1:] + tp_T[:-1])))  # trapezoids, whole numbers
    return twice_won / (2 * pairs) if pairs else math.nan


def precision_recall_curve(scores_N: Reals, positive_N: Bools) -> PrecisionRecallCurve:
    """Precision against recall; recall over no positives is nan."""
    tp_T, fp_T, thresholds_T = _counts_by_threshold(scores_N, positive_N)
    precision_T = np.append(1.0, tp_T[1:] / (tp_T[1:] + fp_T[1:]))
    return PrecisionRecallCurve(precision_T, _share(tp_T), thresholds_T)


def average_precision(scores_N: Reals, positive_N: Bools) -> float:
    """Precision at each threshold weighted by the recall gained there, without interpolation.

    This is what the CKDNet authors print as "PPV". nan without positives or negatives.
    """
    curve = precision_recall_curve(scores_N, positive_N)
    if positive_N.all() or not positive_N.any():
        return math.nan
    return float(np.sum(np.diff(curve.recall_T) * curve.precision_T[1:]))


def balanced_accuracy(probabilities_NK: Reals, labels_N: Indices) -> float:
    """Mean over classes of the share found by the largest probability (ISIC 2018 Task 3).

    A sample whose maximum several classes share is undecided, and wrong. Classes without samples
    are left out.
    """
    right_N = _right(probabilities_NK, labels_N)
    return fmean(float(right_N[labels_N == label].mean()) for label in np.unique(labels_N))


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """Means over images of the scores of each image."""

    jaccard: float
    threshold_jaccard: float
    dice: float
    sensitivity: float
    specificity: float
    accuracy: float
    num_images: int

    def as_dict(self) -> dict[str, float | None]:
        """By name, ready for JSON."""
        return {name: _json_ready(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One class against the rest; all but the first two are at probability 0.5."""

    auc: float
    average_precision: float
    sensitivity: float
    specificity: float
    accuracy: float
    ppv: float


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """Each class against the rest, and the scores over all classes."""

    per_label: Mapping[str, LabelScores]
    tasks: tuple[str, ...]  # the labels that mean_auc is over
    mean_auc: float
    balanced_accuracy: float
    accuracy: float  # of the largest probability; ties are wrong
    num_images: int

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON: nan becomes None."""
        return {name: _json_ready(value) for name, value in asdict(self).items()}


def segmentation_scores(confusions: Sequence[Confusion]) -> SegmentationScores:
    """Score each image, then average (not the score of the pooled pixels)."""
    _require(len(confusions) > 0, "segmentation scores: expected at least one image, got none")
    return SegmentationScores(
        jaccard=fmean(c.jaccard for c in confusions),
        threshold_jaccard=fmean(threshold_jaccard(c.jaccard) for c in confusions),
        dice=fmean(c.dice for c in confusions),
        sensitivity=fmean(c.sensitivity for c in confusions),
        specificity=fmean(c.specificity for c in confusions),
        accuracy=fmean(c.accuracy for c in confusions),
        num_images=len(confusions),
    )


def classification_scores(
    probabilities_NK: Reals,
    labels_N: Indices,
    label_names: Sequence[str],
    tasks: Sequence[str] | None = None,
) -> ClassificationScores:
    """Score class probabilities against the true class indices.

    ``tasks`` are the labels whose AUCs are averaged, all by default; ISIC 2017 is scored on
    ``("MEL", "SBK")``. A nan AUC is left out of the mean.
    """
    right_N = _right(probabilities_NK, labels_N)
    num_classes = probabilities_NK.shape[1]
    _require(
        len(label_names) == len(set(label_names)) == num_classes,
        f"label names: expected {num_classes} different ones, got {list(label_names)}",
    )
    tasks = tuple(label_names if tasks is None else tasks)
    if unknown := sorted(set(tasks) - set(label_names)):
        raise UsageError(f"tasks: {unknown} not among the labels {list(label_names)}")
    per_label = {
        name: _label_scores(probabilities_NK[:, k], np.asarray(labels_N == k))
        for k, name in enumerate(label_names)
    }
    aucs = [per_label[task].auc for task in tasks if not math.isnan(per_label[task].auc)]
    return ClassificationScores(
        per_label=per_label,
        tasks=tasks,
        mean_auc=fmean(aucs) if aucs else math.nan,
        balanced_accuracy=balanced_accuracy(probabilities_NK, labels_N),
        accuracy=float(right_N.mean()),
        num_images=len(labels_N),
    )


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    num_samples: int,
    *,
    level: float = 0.95,
    repeats: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap: low and high end of a statistic over resampled test sets.

    ``statistic`` takes the indices of one draw, ``num_samples`` of them with replacement. Draws
    that give nan (no melanoma drawn, say) are ignored; if all do, both ends are nan.
    """
    if num_samples < 1 or repeats < 1 or not 0.0 < level < 1.0:
        raise UsageError(f"bootstrap: cannot draw {repeats} x {num_samples} at level {level}")
    rng = np.random.default_rng(seed)
    draws = np.array([statistic(rng.integers(0, num_samples, num_samples)) for _ in range(repeats)])
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(draws, [(1.0 - level) / 2, (1.0 + level) / 2])
    return float(low), float(high)


def _counts_by_threshold(
    scores_N: Reals, positive_N: Bools
) -> tuple[NDArray[np.int64], NDArray[np.int64], Reals]:
    """True and false positives at or above inf, then each distinct score from the largest."""
    _check_scores(scores_N, positive_N)
    order = np.argsort(-scores_N)
    sorted_N = scores_N[order].astype(np.float64)
    last_T = np.append(np.flatnonzero(sorted_N[1:] != sorted_N[:-1]), len(order) - 1)
    tp_T = np.cumsum(positive_N[order], dtype=np.int64)[last_T]
    return np.append(0, tp_T), np.append(0, last_T + 1 - tp_T), np.append(np.inf, sorted_N[last_T])


def _label_scores(probabilities_N: Reals, positive_N: Bools) -> LabelScores:
    confusion = confusion_from_scores(probabilities_N, positive_N)
    return LabelScores(
        auc=roc_auc(probabilities_N, positive_N),
        average_precision=average_precision(probabilities_N, positive_N),
        sensitivity=confusion.sensitivity,
        specificity=confusion.specificity,
        accuracy=confusion.accuracy,
        ppv=confusion.ppv,
    )


def _right(probabilities_NK: Reals, labels_N: Indices) -> Bools:
    """Where the largest probability is that of the true class, and of no other."""
    shape = probabilities_NK.shape
    _require(
        len(shape) == 2 and probabilities_NK.size > 0 and labels_N.shape == shape[:1],
        f"probabilities: expected [N, K] and N labels, got {shape} and {labels_N.shape}",
    )
    _require(
        bool(np.all((probabilities_NK >= 0.0) & (probabilities_NK <= 1.0 + 1e-6))),  # nan fails
        "probabilities: expected values in [0, 1]; apply the softmax to logits",
    )
    _require(
        labels_N.dtype.kind in "iu" and labels_N.min() >= 0 and labels_N.max() < shape[1],
        f"labels: expected whole numbers from 0 to {shape[1] - 1}, one for each sample",
    )
    largest_N1 = probabilities_NK.max(axis=1, keepdims=True)
    alone_N = np.count_nonzero(probabilities_NK == largest_N1, axis=1) == 1
    return np.asarray(alone_N & (probabilities_NK.argmax(axis=1) == labels_N))


def _check_scores(scores_N: Reals, positive_N: Bools) -> None:
    _require(
        scores_N.ndim == 1 and scores_N.size > 0 and scores_N.shape == positive_N.shape,
        f"scores: expected one a sample, got {scores_N.shape} for {positive_N.shape} samples",
    )
    _require(positive_N.dtype == np.bool_, f"truth: expected bool, got {positive_N.dtype}")
    _require(
        scores_N.dtype.kind == "f" and not np.isnan(scores_N).any(),
        f"scores: expected floating-point numbers without nan, got {scores_N.dtype}",
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _share(counts_T: NDArray[np.int64]) -> Reals:
    total = int(counts_T[-1])
    return counts_T / total if total else np.full(len(counts_T), np.nan)


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json_ready(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _require(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise InputError(message)
