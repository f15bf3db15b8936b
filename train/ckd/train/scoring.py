"""Scores of a system's answers on a set of images, for validation during training and afterwards.

Suffixes: B batch, H rows, W columns, C channels, K classes, N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ckd.contract.confusion import Confusion, confusion_from_masks
from ckd.contract.labels import headline_tasks
from ckd.contract.metrics import (
    ClassificationScores,
    SegmentationScores,
    classification_scores,
    segmentation_scores,
)
from ckd.contract.preprocess import (
    class_probabilities,
    mask_from_logits,
    network_image,
    read_rgb,
)
from ckd.train.data.masks import read_mask
from ckd.train.data.samples import Sample, SampleSet
from ckd.train.systems.graph import System


@dataclass(frozen=True, slots=True)
class ImageScore:
    """What was answered for one image, beside what is true."""

    id: str
    fine: Confusion | None = None
    coarse: Confusion | None = None
    probabilities: tuple[float, ...] | None = None
    label: int | None = None


class PlainImages(Dataset[dict[str, Tensor]]):
    """Images at network size, not augmented; items hold ``image`` uint8 [S, S, 3] and ``index``."""

    def __init__(self, samples: SampleSet, side_px: int) -> None:
        self.samples = samples.samples
        self.side_px = side_px

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image_HWC = network_image(read_rgb(self.samples[index].image), self.side_px)
        return {"image": torch.from_numpy(image_HWC.copy()), "index": torch.tensor(index)}


def score_batch(
    system: System, tensors: dict[str, Tensor], samples: Sequence[Sample]
) -> list[ImageScore]:
    """Scores of a batch's answers; results that were not computed are left out."""
    answers = {
        name: tensors[name].detach().float().cpu().numpy()
        for name in system.results.names()
        if name in tensors
    }
    return [
        score_image(system, {name: a[i] for name, a in answers.items()}, sample)
        for i, sample in enumerate(samples)
    ]


def score_image(
    system: System, answers: dict[str, NDArray[np.float32]], sample: Sample
) -> ImageScore:
    """Score one image's logits against its mask (at the mask's own size) and label."""
    results = system.results
    probabilities = None
    if results.class_logits in answers:
        logits_K = answers[results.class_logits]
        probabilities = tuple(class_probabilities(logits_K, results.exclusive).tolist())
    fine = coarse = None
    if sample.mask is not None and {results.mask_logits, results.coarse_logits} & set(answers):
        truth_HW = read_mask(sample.mask)
        if results.mask_logits in answers:
            mask_HW = mask_from_logits(
                answers[results.mask_logits][0], *truth_HW.shape, threshold=system.mask_threshold
            )
            fine = confusion_from_masks(mask_HW, truth_HW)
        if results.coarse_logits in answers:
            coarse_HW = mask_from_logits(
                answers[results.coarse_logits][0],
                *truth_HW.shape,
                threshold=system.mask_threshold,
                aligned_to_px=system.image_size if results.coarse_align_corners else None,
            )
            coarse = confusion_from_masks(coarse_HW, truth_HW)
    return ImageScore(sample.id, fine, coarse, probabilities, sample.label)


def mask_scores(scores: Sequence[ImageScore], which: str = "fine") -> SegmentationScores | None:
    """Official segmentation scores of the fine or coarse masks, or None where there are none."""
    confusions = [c for score in scores if (c := getattr(score, which)) is not None]
    return segmentation_scores(confusions) if confusions else None


def label_scores(
    system: System, scores: Sequence[ImageScore], tasks: tuple[str, ...]
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
        system.labels,
        tasks=headline_tasks(tasks, system.labels),
        exclusive=system.results.exclusive,
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
