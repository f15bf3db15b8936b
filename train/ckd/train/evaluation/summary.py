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

from ckd.console.tables import text_table
from ckd.contract.confusion import threshold_jaccard
from ckd.data.samples import SampleSet, Split
from ckd.finding.answers import AnswerSource
from ckd.scores.images import ImageScore, diagnosed, label_scores, mask_scores
from ckd.scores.metrics import ClassificationScores, SegmentationScores, bootstrap_interval
from ckd.scores.ranking import roc_auc

#: Test-time views, see `ckd.train.evaluation.views`.
Views = Literal["1", "paper"]
#: Low and high end; both None if the score is undefined.
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of a system on one split; None for what the images or the system do not have.

    Attributes:
        recipe: name of the recipe, or of the bundle.
        weights: digest of the system's weights.
        views: test-time views of every image.
        labels: class names in the order of each image's probabilities; its label is an index.
        exclusive: every image is of exactly one label; otherwise it may be of none.
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
        """Content of `scores.json`; an undefined score, such as the AUC of one class, is None."""

        def with_intervals(
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
                "fine": with_intervals("fine", self.fine),
                "coarse": with_intervals("coarse", self.coarse),
            },
            "classification": with_intervals("labels", self.classification),
        }

    def to_text(self) -> str:
        """The headline scores with their intervals, for a terminal."""

        def score_row(name: str, value: float, kind: str, key: str) -> tuple[str, str, str]:
            low, high = self.intervals[kind][key]
            between = "" if low is None else f"[{low:.3f}, {high:.3f}]"
            return name, "undefined" if math.isnan(value) else f"{value:.3f}", between

        rows = []
        for kind, masks in (("fine", self.fine), ("coarse", self.coarse)):
            for key in self.intervals[kind] if masks is not None else ():
                name = f"{kind} {key.replace('_', ' ')}"
                rows.append(score_row(name, getattr(masks, key), kind, key))
        if (labels := self.classification) is not None:
            rows.append(score_row("mean AUC", labels.mean_auc, "labels", "mean_auc"))
            for task in labels.tasks:
                auc = labels.per_label[task].auc
                rows.append(score_row(f"AUC {task}", auc, "labels", f"auc_{task}"))
            rows.append(("accuracy", f"{labels.accuracy:.3f}", ""))
            rows.append(("balanced accuracy", f"{labels.balanced_accuracy:.3f}", ""))
        table = text_table(("score", "value", "95 % bootstrap interval"), rows, ("value",))
        return f"{self.title}\n{table}"

    @property
    def title(self) -> str:
        """Title of figures, in one line."""
        views = "single view" if self.views == "1" else "the paper's views"
        return f"{self.recipe} on {self.dataset} {self.split}, {len(self.images)} images, {views}"


def summarised(
    name: str,
    source: AnswerSource,
    samples: SampleSet,
    images: Sequence[ImageScore],
    *,
    weights: str,
    tasks: tuple[str, ...],
    views: Views = "1",
) -> Evaluation:
    """The scores of all images together, with bootstrap intervals.

    Args:
        name: of the recipe, or of the bundle.
        source: the system or the spec of the bundle that gave the answers.
        samples: in the order of ``images``.
        images: scores of the single images.
        weights: digest of the weights.
        tasks: labels that count in the headline AUC.
        views: test-time views of every image.
    """
    classification = label_scores(source, images, tasks)
    intervals = {kind: _mask_intervals(images, kind) for kind in ("fine", "coarse")}
    if classification is not None:
        intervals["labels"] = _label_intervals(images, source.labels, classification)
    return Evaluation(
        recipe=name,
        weights=weights,
        dataset=samples.name,
        split=samples.split,
        views=views,
        mask_threshold=source.mask_threshold,
        labels=source.labels,
        exclusive=source.outputs.exclusive,
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
    """Intervals of the AUC of each task, by ``auc_<task>``, and of their mean."""
    probabilities_NK, labels_N = diagnosed(images)

    def interval(tasks: Sequence[str]) -> Interval:
        columns = [labels.index(t) for t in tasks if not math.isnan(scores.per_label[t].auc)]
        if not columns:
            return None, None
        # A draw without one of the classes gives nan and is ignored.
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
