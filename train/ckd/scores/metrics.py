"""Scores of a set of images, of masks and of diagnoses, as the official ISIC scorer computes them.

Source: the `isic_challenge_scoring` package, whose rules for special cases are kept; one is that
tied maxima are wrong. The "PPV" that the CKDNet authors print for ISIC 2017 is average precision;
precision at 0.5 is `Confusion.ppv`. All scores are fractions in [0, 1].

Suffixes: N samples, K classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import (
    Bools,
    Confusion,
    Reals,
    confusion_from_scores,
    require,
    threshold_jaccard,
)
from ckd.contract.errors import UsageError
from ckd.scores.ranking import average_precision, roc_auc

Indices = NDArray[np.integer[Any]]


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
        """The scores by name, ready for JSON: nan becomes None."""
        return {name: _json_ready(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One class against the rest. All scores but the first two are at probability 0.5."""

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
    tasks: tuple[str, ...]  # the labels whose AUCs are averaged in mean_auc
    mean_auc: float
    balanced_accuracy: float
    accuracy: float  # of the label of largest probability; ties are wrong
    num_images: int

    def as_dict(self) -> dict[str, Any]:
        """The scores by name, ready for JSON: nan becomes None."""
        return {name: _json_ready(value) for name, value in asdict(self).items()}


def segmentation_scores(confusions: Sequence[Confusion]) -> SegmentationScores:
    """Means of the scores of single images (not the scores of pooled pixels)."""
    require(len(confusions) > 0, "segmentation scores: expected at least one image, got none")
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
    exclusive: bool = True,
) -> ClassificationScores:
    """Score class probabilities against the true class indices.

    ``tasks`` are the labels whose AUCs are averaged, by default all; ISIC 2017 is scored on
    ``("MEL", "SBK")``. A nan AUC is left out of the mean. If labels do not exclude each other,
    index K stands for an image of none of them, which is right if no probability is above 0.5.
    """
    right_N = _right(probabilities_NK, labels_N, exclusive)
    num_classes = probabilities_NK.shape[1]
    require(
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
        balanced_accuracy=balanced_accuracy(probabilities_NK, labels_N, exclusive),
        accuracy=float(right_N.mean()),
        num_images=len(labels_N),
    )


def balanced_accuracy(probabilities_NK: Reals, labels_N: Indices, exclusive: bool = True) -> float:
    """Mean over classes of the share of samples with the right answer (ISIC 2018 Task 3).

    The answer is the class of the largest probability. It is wrong if several classes share the
    maximum. Classes without samples are left out.
    """
    right_N = _right(probabilities_NK, labels_N, exclusive)
    return fmean(float(right_N[labels_N == label].mean()) for label in np.unique(labels_N))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    num_samples: int,
    *,
    level: float = 0.95,
    repeats: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap: low and high end of a statistic over resampled test sets.

    ``statistic`` takes the indices of one draw: ``num_samples``, drawn with replacement. Draws that
    give nan (for instance because no melanoma was drawn) are ignored; if all do, both ends are nan.
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


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of a sample (n - 1), of repeated trainings for instance.

    The mean is None if there are no values, the deviation if there are fewer than two.
    """
    return (fmean(values) if values else None, stdev(values) if len(values) > 1 else None)


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


def _right(probabilities_NK: Reals, labels_N: Indices, exclusive: bool) -> Bools:
    """Whether the largest probability is that of the true class and of no other class."""
    shape = probabilities_NK.shape
    require(
        len(shape) == 2 and probabilities_NK.size > 0 and labels_N.shape == shape[:1],
        f"probabilities: expected [N, K] and N labels, got {shape} and {labels_N.shape}",
    )
    require(
        bool(np.all((probabilities_NK >= 0.0) & (probabilities_NK <= 1.0 + 1e-6))),  # nan fails
        "probabilities: expected values in [0, 1]; apply the softmax to logits",
    )
    last = shape[1] - 1 if exclusive else shape[1]
    require(
        labels_N.dtype.kind in "iu" and labels_N.min() >= 0 and labels_N.max() <= last,
        f"labels: expected whole numbers from 0 to {last}, one for each sample",
    )
    largest_N1 = probabilities_NK.max(axis=1, keepdims=True)
    decided_N = np.count_nonzero(probabilities_NK == largest_N1, axis=1) == 1
    answer_N = probabilities_NK.argmax(axis=1)
    if not exclusive:
        none_N = largest_N1[:, 0] <= 0.5
        answer_N, decided_N = np.where(none_N, shape[1], answer_N), decided_N | none_N
    return np.asarray(decided_N & (answer_N == labels_N))


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json_ready(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
