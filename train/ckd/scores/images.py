"""Scores of images one by one, and of all of them together; needs no PyTorch.

Suffixes: N images, K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import Confusion, confusion_from_masks
from ckd.contract.labels import headline_tasks
from ckd.contract.spec import OutputSpec
from ckd.data.masks import read_mask
from ckd.data.samples import Sample
from ckd.finding.finding import Finding
from ckd.scores.metrics import (
    ClassificationScores,
    SegmentationScores,
    classification_scores,
    segmentation_scores,
)


class Answering(Protocol):
    """What gives answers: a system in training, or the spec of one that is deployed."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the probabilities."""

    @property
    def outputs(self) -> OutputSpec:
        """What is answered."""


@dataclass(frozen=True, slots=True)
class ImageScore:
    """What was answered for one image, beside what is true."""

    id: str
    fine: Confusion | None = None
    coarse: Confusion | None = None
    probabilities: tuple[float, ...] | None = None
    label: int | None = None


def score_finding(finding: Finding, sample: Sample) -> ImageScore:
    """What a runtime found in a photograph, scored at the photograph's size.

    Raises:
        InputError: the mask cannot be read, or is of another size.
    """
    fine = coarse = None
    masks = (finding.mask_HW, finding.coarse_mask_HW)
    seen = next((mask_HW for mask_HW in masks if mask_HW is not None), None)
    if sample.mask is not None and seen is not None:
        truth_HW = read_mask(sample.mask, seen.shape)
        fine, coarse = (
            None if mask_HW is None else confusion_from_masks(mask_HW, truth_HW)
            for mask_HW in masks
        )
    probabilities = tuple(finding.probabilities.values()) or None
    return ImageScore(sample.id, fine, coarse, probabilities, sample.label)


def mask_scores(scores: Sequence[ImageScore], which: str = "fine") -> SegmentationScores | None:
    """Official segmentation scores of the fine or coarse masks, or None where there are none."""
    confusions = [c for score in scores if (c := getattr(score, which)) is not None]
    return segmentation_scores(confusions) if confusions else None


def label_scores(
    answering: Answering, scores: Sequence[ImageScore], tasks: tuple[str, ...]
) -> ClassificationScores | None:
    """Official classification scores, or None where no image has both label and answer.

    The mean AUC is over ``tasks`` where the labels hold all of them, over all labels otherwise.
    """
    probabilities_NK, labels_N = diagnosed(scores)
    if not len(labels_N):
        return None
    return classification_scores(
        probabilities_NK,
        labels_N,
        answering.labels,
        tasks=headline_tasks(tasks, answering.labels),
        exclusive=answering.outputs.exclusive,
    )


def label_loss(scores: Sequence[ImageScore], weights_K: Sequence[float]) -> float:
    """Class-weighted cross-entropy of the probabilities of exclusive labels."""
    probabilities_NK, labels_N = diagnosed(scores)
    weights_N = np.asarray(weights_K)[labels_N]
    of_truth_N = probabilities_NK[np.arange(len(labels_N)), labels_N]
    total = max(float(weights_N.sum()), 1e-12)  # only labels that training never saw
    return float(-(weights_N * np.log(np.maximum(of_truth_N, 1e-12))).sum() / total)


def binary_label_loss(scores: Sequence[ImageScore], positives_K: Sequence[float]) -> float:
    """Sum over labels of the mean binary cross-entropy, where labels do not exclude each other.

    ``positives_K``: what a label's positives weigh; an image of none of the labels has index K.
    """
    probabilities_NK, labels_N = diagnosed(scores)
    truth_NK = labels_N[:, None] == np.arange(len(positives_K))
    of_truth_NK = np.where(truth_NK, probabilities_NK, 1.0 - probabilities_NK)
    weights_NK = np.where(truth_NK, positives_K, 1.0)
    return float(-(weights_NK * np.log(np.maximum(of_truth_NK, 1e-12))).mean(axis=0).sum())


def diagnosed(images: Sequence[ImageScore]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities [N, K] and labels [N] of the images that have both."""
    known = [s for s in images if s.label is not None and s.probabilities is not None]
    return np.array([s.probabilities for s in known]), np.array([s.label for s in known])
