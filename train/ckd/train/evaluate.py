"""Score a trained system on a set of images and write down what was found.

An evaluation folder holds:

    scores.json             official scores with 95 % bootstrap intervals over the images
    per_image.csv           what was answered for each image, and how good its masks are
    roc.png                 and precision_recall.png, where labels are known
    jaccard.png             how the masks' scores spread, where masks are known
    worst_cases.png         the photographs that went worst

Every record names its views: scores of "1" and of "paper" are not comparable (`ckd.train.views`).
Suffixes: N images, K classes, H rows, W columns, C channels in RGB order.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError, UsageError
from ckd.contract.metrics import (
    ClassificationScores,
    SegmentationScores,
    bootstrap_interval,
    roc_auc,
    threshold_jaccard,
)
from ckd.contract.overlay import FINE_RGB, draw_border
from ckd.contract.preprocess import mask_from_logits, read_rgb
from ckd.train import plots
from ckd.train.config import Augmentation, Recipe
from ckd.train.data.masks import read_mask
from ckd.train.data.samples import Sample, SampleSet, Split
from ckd.train.scoring import ImageScore, label_scores, mask_scores, score_image
from ckd.train.systems.graph import System
from ckd.train.views import Answers, Views, answers

#: Called with the number of images done and of all.
Progress = Callable[[int, int], None]
Interval = tuple[float | None, float | None]

TRUTH_RGB = (255, 64, 208)  # beside the overlay's green, for the colour-blind too
_NUM_WORST = 12
_TILE_PX = 320  # longer side
_MASK_COLUMNS = ("jaccard", "dice", "sensitivity", "specificity", "accuracy")
_FILES = (
    "scores.json", "per_image.csv", "roc.png", "precision_recall.png", "jaccard.png",
    "worst_cases.png",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a system scored on one split; None where the images or the system lack something.

    Attributes:
        views: that every answer was made of.
        labels: class names in the order of each image's probabilities, and of its label.
        images: the score of each image, in the order of the data set.
        intervals: 95 % bootstrap intervals by "fine", "coarse" and "labels", then by score.
    """

    recipe: str
    dataset: str
    split: Split
    views: Views
    mask_threshold: float
    labels: tuple[str, ...]
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


def evaluate(
    recipe: Recipe,
    system: System,
    samples: SampleSet,
    out: Path,
    *,
    views: Views,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Evaluation:
    """Run ``system`` on ``samples``, score it, and write the folder described above.

    An earlier evaluation in ``out`` is replaced as a whole.

    Raises:
        InputError: no images, one that cannot be decoded, or a label that the system does not know.
        UsageError: unknown views.
    """
    if views not in get_args(Views):
        raise UsageError(f"views {views!r}: expected one of {', '.join(get_args(Views))}")
    samples = _numbered_as(system.labels, samples)
    settings = next(
        (s.augmentation for s in recipe.stages if s.output == system.results.class_logits),
        Augmentation(),
    )

    def answered(some: Sequence[Sample]) -> Iterator[tuple[Sample, Answers]]:
        return answers(system, some, views, settings, batch_size)

    was_training = system.training
    system.eval()
    try:
        images: list[ImageScore] = []
        for sample, answer in answered(samples.samples):
            images.append(score_image(system, answer, sample))
            if progress is not None:
                progress(len(images), len(samples))
        # The worst are answered again, so that no masks need be kept of thousands of images.
        worst = _worst(images)
        ids = {score.id for scores in worst.values() for score in scores}
        pictures = {
            sample.id: _outlined(system, sample, answer)
            for sample, answer in answered([s for s in samples.samples if s.id in ids])
        }
    finally:
        system.train(was_training)

    evaluation = _evaluation(recipe, system, samples, views, images)
    out.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (out / name).unlink(missing_ok=True)  # not every set of images gives every figure
    _write_per_image(evaluation, out / "per_image.csv")
    _draw_curves(evaluation, out)
    if pictures:
        tiles = {
            heading: [plots.Tile(pictures[s.id], _caption(s, system.labels)) for s in scores]
            for heading, scores in worst.items()
        }
        colours = {"truth": TRUTH_RGB, "predicted": FINE_RGB}
        sheet = plots.contact_sheet(tiles, colours, evaluation.title)
        plots.save(sheet, out / "worst_cases.png", dpi=120)
    # Last, so that a folder that has it is complete.
    (out / "scores.json").write_text(json.dumps(evaluation.as_dict(), indent=2) + "\n")
    return evaluation


def _numbered_as(labels: tuple[str, ...], samples: SampleSet) -> SampleSet:
    """The samples with their labels numbered as the system's are: the order differs by data set.

    A class that the system does not know does no harm as long as no image is of it.
    """
    if not len(samples):
        raise InputError(f"{samples.name}: no {samples.split} images to evaluate on")
    used = {samples.labels[s.label] for s in samples.samples if s.label is not None}
    if unknown := sorted(used - set(labels)):
        raise InputError(
            f"{samples.name}: holds images of {', '.join(unknown)}, but the system only knows "
            f"{', '.join(labels)}; evaluate it on data with these labels"
        )
    numbered = (
        s if s.label is None else replace(s, label=labels.index(samples.labels[s.label]))
        for s in samples.samples
    )
    return replace(samples, labels=labels, samples=tuple(numbered))


def _evaluation(
    recipe: Recipe, system: System, samples: SampleSet, views: Views, images: list[ImageScore]
) -> Evaluation:
    classification = label_scores(images, system.labels, recipe.tasks)
    intervals = {kind: _mask_intervals(images, kind) for kind in ("fine", "coarse")}
    if classification is not None:
        intervals["labels"] = _label_intervals(images, system.labels, classification)
    return Evaluation(
        recipe=recipe.name,
        dataset=samples.name,
        split=samples.split,
        views=views,
        mask_threshold=system.mask_threshold,
        labels=system.labels,
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
    probabilities_NK, labels_N = _diagnosed(images)

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


def _diagnosed(images: Sequence[ImageScore]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities [N, K] and labels [N] of the images that have both."""
    known = [s for s in images if s.label is not None and s.probabilities is not None]
    return np.array([s.probabilities for s in known]), np.array([s.label for s in known])


def _write_per_image(evaluation: Evaluation, path: Path) -> None:
    labels = evaluation.labels
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "label", *labels, "top", *_MASK_COLUMNS, "coarse_jaccard", "views"])
        for score in evaluation.images:
            probabilities = score.probabilities or ()
            masks = [getattr(score.fine, name, None) for name in _MASK_COLUMNS]
            masks.append(getattr(score.coarse, "jaccard", None))
            row = [score.id, "" if score.label is None else labels[score.label]]
            row += [f"{p:.6f}" for p in probabilities] or [""] * len(labels)
            row.append(labels[np.argmax(probabilities)] if probabilities else "")
            row += ["" if value is None else f"{value:.6f}" for value in masks]
            table.writerow([*row, evaluation.views])


def _draw_curves(evaluation: Evaluation, out: Path) -> None:
    """The figures over all images; one that would be empty is not written."""
    scores, title = evaluation.classification, evaluation.title
    if scores is not None and not all(math.isnan(s.auc) for s in scores.per_label.values()):
        shown = (*_diagnosed(evaluation.images), evaluation.labels, scores.tasks, title)
        plots.save(plots.roc_figure(*shown), out / "roc.png")
        plots.save(plots.precision_recall_figure(*shown), out / "precision_recall.png")
    jaccards = {
        "fine": [s.fine.jaccard for s in evaluation.images if s.fine is not None],
        "coarse": [s.coarse.jaccard for s in evaluation.images if s.coarse is not None],
    }
    if jaccards := {name: values for name, values in jaccards.items() if values}:
        plots.save(plots.jaccard_figure(jaccards, title), out / "jaccard.png")


def _worst(images: Sequence[ImageScore]) -> dict[str, list[ImageScore]]:
    """The images with the worst masks and those with the worst probabilities, by heading."""
    masks = [(s.fine.jaccard, s) for s in images if s.fine is not None]
    labels = [
        (s.probabilities[s.label], s)
        for s in images
        if s.label is not None and s.probabilities is not None
    ]
    return {
        heading: [score for _, score in sorted(ranked, key=lambda pair: pair[0])[:_NUM_WORST]]
        for heading, ranked in {
            "Least overlap of fine mask and truth": masks,
            "Least probability of the true label": labels,
        }.items()
        if ranked
    }


def _outlined(system: System, sample: Sample, answer: Answers) -> NDArray[np.uint8]:
    """The photograph, small, with the borders of the true and the fine mask."""
    image_HWC = read_rgb(sample.image)
    scale = _TILE_PX / max(image_HWC.shape)
    size = (max(1, round(image_HWC.shape[1] * scale)), max(1, round(image_HWC.shape[0] * scale)))
    small_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    if sample.mask is not None:
        truth = cv2.resize(
            read_mask(sample.mask).astype(np.float32), size, interpolation=cv2.INTER_AREA
        )
        draw_border(small_HWC, np.asarray(truth >= 0.5), TRUTH_RGB, 3)
    if system.results.mask_logits in answer:
        fine_HW = mask_from_logits(
            answer[system.results.mask_logits][0],
            size[1],
            size[0],
            threshold=system.mask_threshold,
        )
        draw_border(small_HWC, fine_HW, FINE_RGB, 2)
    return small_HWC


def _caption(score: ImageScore, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Id, mask score, and what the label is and was taken for."""
    lines = [score.id if len(score.id) <= 30 else f"...{score.id[-27:]}"]
    if score.fine is not None:
        lines.append(f"Jaccard {score.fine.jaccard:.3f}")
    if score.probabilities is not None:
        top = int(np.argmax(score.probabilities))
        lines.append(f"predicted {labels[top]} {score.probabilities[top]:.3f}")
        if score.label is not None:
            lines.append(f"true {labels[score.label]} {score.probabilities[score.label]:.3f}")
    return tuple(lines)
