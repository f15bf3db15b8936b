"""Scores of deployed bundles on a data set, by the runtime itself and without PyTorch.

Every bundle answers through its own runtime, so the figures are those of the device: its resize,
its precision, its engines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ckd.calibration.cost import answer
from ckd.console import Progress
from ckd.data.samples import SampleSet, numbered_as
from ckd.runtime.cascade import Cascade
from ckd.train.evaluation.summary import Evaluation, summarised


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One bundle's scores, and the engine, device and precision that gave them."""

    bundle: str
    system: str
    backend: str
    device: str
    precision: str
    scores: Evaluation

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "bundle": self.bundle,
            "system": self.system,
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            **self.scores.as_dict(),
        }


def accuracy(cascade: Cascade, samples: SampleSet, progress: Progress | None = None) -> Accuracy:
    """Score a loaded bundle on images with masks, labels or both.

    Raises:
        InputError: an image cannot be read, or has a label that the bundle does not know.
    """
    spec = cascade.spec
    numbered = numbered_as(spec.labels, samples, exclusive=spec.outputs.exclusive)
    scores = summarised(
        spec.name,
        spec,
        numbered,
        answer(cascade.predict, numbered, progress),
        weights=cascade.bundle_id,
        tasks=spec.tasks,
    )
    return Accuracy(
        bundle=cascade.bundle_id,
        system=spec.system,
        backend=cascade.backend.name,
        device=cascade.backend.device,
        precision=cascade.precision,
        scores=scores,
    )


def accuracy_table(
    accuracies: Sequence[Accuracy],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table, one row a bundle, with 95 % bootstrap intervals over the images."""
    tasks = list(dict.fromkeys(task for one in accuracies for task in _tasks(one.scores)))
    head = ("bundle", "system", "ran on", "Jaccard", "Dice", "mean AUC")
    rows = [
        (
            one.bundle.partition("@")[0],
            one.system,
            f"{one.backend} {one.precision.upper()}",
            *scored(one.scores),
            *(_auc(one.scores, task) for task in tasks),
        )
        for one in accuracies
    ]
    return (*head, *(f"AUC {task}" for task in tasks)), rows


def scored(scores: Evaluation) -> tuple[str, str, str]:
    """Jaccard, Dice and mean AUC with their intervals; a dash where the system gives none."""
    masks, labels = scores.fine, scores.classification
    return (
        "-" if masks is None else _shown(scores, masks.jaccard, "fine", "jaccard"),
        "-" if masks is None else _shown(scores, masks.dice, "fine", "dice"),
        "-" if labels is None else _shown(scores, labels.mean_auc, "labels", "mean_auc"),
    )


def _tasks(scores: Evaluation) -> tuple[str, ...]:
    return () if scores.classification is None else scores.classification.tasks


def _auc(scores: Evaluation, task: str) -> str:
    if task not in _tasks(scores):
        return "-"
    assert scores.classification is not None
    return _shown(scores, scores.classification.per_label[task].auc, "labels", f"auc_{task}")


def _shown(scores: Evaluation, value: float, kind: str, key: str) -> str:
    if math.isnan(value):
        return "undefined"  # the AUC of a label that all images or none are of
    low, high = scores.intervals[kind][key]
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
