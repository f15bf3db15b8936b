"""A system's answers scored image by image, for validation during training and afterwards.

Suffixes: B batch, H rows, W columns, C channels, K classes, N images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ckd.contract.confusion import confusion_from_masks
from ckd.contract.spec import OutputSpec
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet
from ckd.finding.logits import class_probabilities, mask_from_logits
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.images import ImageScore
from ckd.train.losses import BinaryLoss, LabelLoss
from ckd.train.recipes.recipe import Stage
from ckd.train.systems.graph import System


def judged_outputs(stage: Stage, outputs: OutputSpec) -> OutputSpec:
    """What a stage is scored by: those of the system's answers that its losses are computed from.

    A teacher's logits are no answer of the system, but of its stage: without the system's own, the
    tensor that a loss of labels trains stands for the class logits. There may be nothing to score.
    """
    found = set(stage.tensors())
    trained = (x.output for x in stage.losses if isinstance(x, LabelLoss | BinaryLoss))

    def kept(name: str | None) -> str | None:
        return name if name in found else None

    return replace(
        outputs,
        class_logits=kept(outputs.class_logits) or next(trained, None),
        mask_logits=kept(outputs.mask_logits),
        coarse_logits=kept(outputs.coarse_logits),
        class_map=kept(outputs.class_map),
    )


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
    system: System,
    tensors: dict[str, Tensor],
    samples: Sequence[Sample],
    outputs: OutputSpec | None = None,
) -> list[ImageScore]:
    """Scores of a batch's answers; outputs that were not computed are left out.

    ``outputs`` says which tensors to take for answers where they are not the system's own.
    """
    outputs = outputs or system.outputs
    answers = {
        name: tensors[name].detach().float().cpu().numpy()
        for name in outputs.names()
        if name in tensors
    }
    return [
        score_image(system, {name: a[i] for name, a in answers.items()}, sample, outputs)
        for i, sample in enumerate(samples)
    ]


def score_image(
    system: System,
    answers: dict[str, NDArray[np.float32]],
    sample: Sample,
    outputs: OutputSpec | None = None,
) -> ImageScore:
    """Score one image's logits against its mask (at the mask's own size) and label."""
    outputs = outputs or system.outputs
    probabilities = None
    if outputs.class_logits in answers:
        logits_K = answers[outputs.class_logits]
        probabilities = tuple(class_probabilities(logits_K, outputs.exclusive).tolist())
    fine = coarse = None
    if sample.mask is not None and {outputs.mask_logits, outputs.coarse_logits} & set(answers):
        truth_HW = read_mask(sample.mask)
        if outputs.mask_logits in answers:
            mask_HW = mask_from_logits(
                answers[outputs.mask_logits][0], *truth_HW.shape, threshold=system.mask_threshold
            )
            fine = confusion_from_masks(mask_HW, truth_HW)
        if outputs.coarse_logits in answers:
            coarse_HW = mask_from_logits(
                answers[outputs.coarse_logits][0],
                *truth_HW.shape,
                threshold=system.mask_threshold,
                aligned_to_px=system.image_size if outputs.coarse_align_corners else None,
            )
            coarse = confusion_from_masks(coarse_HW, truth_HW)
    return ImageScore(sample.id, fine, coarse, probabilities, sample.label)
