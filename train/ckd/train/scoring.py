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
from ckd.contract.preprocess import mask_from_logits, network_image, read_rgb, softmax
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
        probabilities = tuple(softmax(answers[results.class_logits]).tolist())
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
    scores: Sequence[ImageScore], labels: tuple[str, ...], tasks: tuple[str, ...]
) -> ClassificationScores | None:
    """Official classification scores, or None where no image has both label and answer.

    The mean AUC is over ``tasks`` where the labels hold all of them, over all labels otherwise.
    """
    known = [s for s in scores if s.label is not None and s.probabilities is not None]
    if not known:
        return None
    return classification_scores(
        np.array([s.probabilities for s in known]),
        np.array([s.label for s in known]),
        labels,
        tasks=headline_tasks(tasks, labels),
    )
