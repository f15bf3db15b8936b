"""What a system scored on one split, with 95 % bootstrap intervals over the images.

Suffixes: N images, K classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import threshold_jaccard
from ckd.data.samples import SampleSet, Split
from ckd.scores.images import Answering, ImageScore, diagnosed, label_scores, mask_scores
from ckd.scores.metrics import ClassificationScores, SegmentationScores, bootstrap_interval
from ckd.scores.ranking import roc_auc

#: Test-time views that every answer is made of, see `ckd.train.evaluation.views`.
Views = Literal["1", "paper"]
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a system scored on one split; None where the images or the system lack something.

    Attributes:
        weights: digest of the system's.
        views: that every answer was made of.
        labels: class names in the order of each image's probabilities, and of its label.
        exclusive: every image is of one of them; otherwise it may be of none.
        images: the score of each image, in the order of the data set.
        intervals: 95 % bootstrap intervals by "fine", "coarse" and "labels", then by score.
    """

    recipe: str
    weights: str
    dataset: str
    split: Split
    views: Views
    mask_threshold: float
    labels: tuple[str, ...]
    exclusive: bool
    images: tuple[ImageScore, ...]
    fine: SegmentationScores | None
    coarse: SegmentationScores | None
    classification: ClassificationScores | None
    intervals: dict[str, dict[str, Interval]]

    def as_dict(self) -> dict[str, Any]:
        """What `scores.json` holds; what is not defined, such as the AUC of one class, is None."""

        def scored(
            kind: str, scores: SegmentationScores | ClassificationScores | None
        ) -> dict[str, Any] | None:
            if scores is None:
                return None
            return {**scores.as_dict(), "interval_95": self.intervals[kind]}

        return {
            "recipe": self.recipe,
            "weights": self.weights,
            "dataset": self.dataset,
            "split": self.split,
            "views": self.views,
            "num_images": len(self.images),
            "mask_threshold": self.mask_threshold,
            "segmentation": {
                "fine": scored("fine", self.fine),
                "coarse": scored("coarse", self.coarse),
            },
            "classification": scored("labels", self.classification),
        }

    def to_text(self) -> str:
        """The headline figures with their intervals, for a terminal."""

        def shown(name: str, value: float, kind: str, key: str) -> str:
            low, high = self.intervals[kind][key]
            between = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            number = "undefined" if math.isnan(value) else f"{value:.3f}"
            return f"  {name:<26}{number}{between}"

        lines = [f"{self.title}; 95 % bootstrap intervals"]
        for kind, masks in (("fine", self.fine), ("coarse", self.coarse)):
            for key in self.intervals[kind] if masks is not None else ():
                name = f"{kind} {key.replace('_', ' ')}"
                lines.append(shown(name, getattr(masks, key), kind, key))
        if (found := self.classification) is not None:
            lines.append(shown("mean AUC", found.mean_auc, "labels", "mean_auc"))
            for task in found.tasks:
                auc = found.per_label[task].auc
                lines.append(shown(f"AUC {task}", auc, "labels", f"auc_{task}"))
            lines.append(f"  {'accuracy':<26}{found.accuracy:.3f}")
            lines.append(f"  {'balanced accuracy':<26}{found.balanced_accuracy:.3f}")
        return "\n".join(lines)

    @property
    def title(self) -> str:
        """One line for figures."""
        views = "single view" if self.views == "1" else "the paper's views"
        return f"{self.recipe} on {self.dataset} {self.split}, {len(self.images)} images, {views}"


def summarised(
    name: str,
    answering: Answering,
    samples: SampleSet,
    images: Sequence[ImageScore],
    *,
    weights: str,
    tasks: tuple[str, ...],
    mask_threshold: float,
    views: Views = "1",
) -> Evaluation:
    """The scores of all images together, and how sure they are.

    Args:
        name: of the recipe, or of the bundle.
        answering: whose answers they are.
        samples: in the order of ``images``.
        images: scores one by one.
        weights: digest of the weights.
        tasks: labels that count in the headline AUC.
        mask_threshold: that masks were cut at.
        views: that every answer was made of.
    """
    classification = label_scores(answering, images, tasks)
    intervals = {kind: _mask_intervals(images, kind) for kind in ("fine", "coarse")}
    if classification is not None:
        intervals["labels"] = _label_intervals(images, answering.labels, classification)
    return Evaluation(
        recipe=name,
        weights=weights,
        dataset=samples.name,
        split=samples.split,
        views=views,
        mask_threshold=mask_threshold,
        labels=answering.labels,
        exclusive=answering.outputs.exclusive,
        images=tuple(images),
        fine=mask_scores(images, "fine"),
        coarse=mask_scores(images, "coarse"),
        classification=classification,
        intervals=intervals,
    )


def _mask_intervals(images: Sequence[ImageScore], kind: str) -> dict[str, Interval]:
    confusions = [c for score in images if (c := getattr(score, kind)) is not None]
    per_image = {
        "jaccard": np.array([c.jaccard for c in confusions]),
        "threshold_jaccard": np.array([threshold_jaccard(c.jaccard) for c in confusions]),
        "dice": np.array([c.dice for c in confusions]),
    }

    def interval(values_N: NDArray[np.float64]) -> Interval:
        return _interval(lambda drawn: float(values_N[drawn].mean()), len(values_N))

    return {name: interval(values_N) for name, values_N in per_image.items()}


def _label_intervals(
    images: Sequence[ImageScore], labels: tuple[str, ...], scores: ClassificationScores
) -> dict[str, Interval]:
    """Of the AUC of each task, as ``auc_<task>``, and of their mean."""
    probabilities_NK, labels_N = diagnosed(images)

    def interval(tasks: Sequence[str]) -> Interval:
        columns = [labels.index(t) for t in tasks if not math.isnan(scores.per_label[t].auc)]
        if not columns:
            return None, None
        # A draw that misses one of the classes gives nan, which leaves it out.
        return _interval(
            lambda drawn: fmean(
                roc_auc(probabilities_NK[drawn, k], labels_N[drawn] == k) for k in columns
            ),
            len(labels_N),
        )

    per_task = {f"auc_{task}": interval([task]) for task in scores.tasks}
    return {**per_task, "mean_auc": interval(scores.tasks)}


def _interval(statistic: Callable[[NDArray[np.intp]], float], num_samples: int) -> Interval:
    if num_samples == 0:
        return None, None
    low, high = bootstrap_interval(statistic, num_samples)
    return (None, None) if math.isnan(low) else (low, high)
