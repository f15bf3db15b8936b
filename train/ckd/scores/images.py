"""Scores of single images, and of all images together. This module needs no PyTorch.

Suffixes: N images, K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import Confusion, confusion_from_masks
from ckd.contract.labels import headline_tasks
from ckd.data.masks import read_mask
from ckd.data.samples import Sample
from ckd.finding.answers import Answers, AnswerSource
from ckd.finding.finding import Finding
from ckd.finding.verdict import Verdict
from ckd.scores.metrics import (
    ClassificationScores,
    SegmentationScores,
    classification_scores,
    segmentation_scores,
)


@dataclass(frozen=True, slots=True)
class ImageScore:
    """How right the answers for one image are; None for an answer or a truth that is missing.

    Attributes:
        id: of the image.
        fine: pixels of the fine mask against the true one.
        coarse: pixels of the coarse mask against the true one.
        probabilities: in the order of the system's labels.
        label: index of the true label; one past the last stands for none of them.
        verdict: what the answer comes to by the rules of a bundle; None for networks alone.
    """

    id: str
    fine: Confusion | None = None
    coarse: Confusion | None = None
    probabilities: tuple[float, ...] | None = None
    label: int | None = None
    verdict: Verdict | None = None


def score_finding(finding: Finding, sample: Sample) -> ImageScore:
    """Score what a runtime's networks say of a photograph, at the photograph's size.

    This is `Finding.raw`: an image counts also where there is no finding.

    Raises:
        InputError: the true mask cannot be read, or is of another size than the photograph.
    """
    masks = (finding.raw.mask_HW, finding.raw.coarse_mask_HW)
    size = next((mask_HW.shape for mask_HW in masks if mask_HW is not None), None)
    truth_HW = None if sample.mask is None or size is None else read_mask(sample.mask, size)
    return score_against(finding, sample, truth_HW)


def score_against(
    finding: Finding, sample: Sample, truth_HW: NDArray[np.bool_] | None
) -> ImageScore:
    """`score_finding` with a true mask that was read already; None leaves masks unscored."""
    return replace(score_answers(finding.raw, sample, truth_HW), verdict=finding.verdict)


def score_answers(
    answers: Answers, sample: Sample, truth_HW: NDArray[np.bool_] | None
) -> ImageScore:
    """Score answers whose masks have the size of ``truth_HW``; None leaves the masks unscored."""
    fine, coarse = (
        None if mask_HW is None or truth_HW is None else confusion_from_masks(mask_HW, truth_HW)
        for mask_HW in (answers.mask_HW, answers.coarse_mask_HW)
    )
    probabilities = tuple(answers.probabilities.values()) or None
    return ImageScore(sample.id, fine, coarse, probabilities, sample.label)


def mask_scores(scores: Sequence[ImageScore], which: str = "fine") -> SegmentationScores | None:
    """Official segmentation scores of the "fine" or "coarse" masks; None if none was scored."""
    confusions = [c for score in scores if (c := getattr(score, which)) is not None]
    return segmentation_scores(confusions) if confusions else None


def label_scores(
    source: AnswerSource, scores: Sequence[ImageScore], tasks: tuple[str, ...]
) -> ClassificationScores | None:
    """Official classification scores; None if no image has both a label and probabilities.

    The mean AUC is over ``tasks`` if the labels hold all of them, otherwise over all labels.
    """
    probabilities_NK, labels_N = diagnosed(scores)
    if not len(labels_N):
        return None
    return classification_scores(
        probabilities_NK,
        labels_N,
        source.labels,
        tasks=headline_tasks(tasks, source.labels),
        exclusive=source.outputs.exclusive,
    )


def label_loss(scores: Sequence[ImageScore], weights_K: Sequence[float]) -> float:
    """Class-weighted cross-entropy of the probabilities of exclusive labels."""
    probabilities_NK, labels_N = diagnosed(scores)
    weights_N = np.asarray(weights_K)[labels_N]
    of_truth_N = probabilities_NK[np.arange(len(labels_N)), labels_N]
    total = max(float(weights_N.sum()), 1e-12)  # 0 if training saw none of these labels
    return float(-(weights_N * np.log(np.maximum(of_truth_N, 1e-12))).sum() / total)


def binary_label_loss(scores: Sequence[ImageScore], positives_K: Sequence[float]) -> float:
    """Sum over labels of the mean binary cross-entropy, where labels do not exclude each other.

    ``positives_K`` is the weight of each label's positives. An image of none of the labels has
    index K.
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
