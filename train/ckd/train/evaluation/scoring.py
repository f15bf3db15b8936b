"""A system's answers scored image by image, for validation during training and afterwards.

Suffixes: H rows, W columns, C channels, S network side.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ckd.contract.spec import OutputSpec
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet
from ckd.finding.answers import answers_from_logits
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.images import ImageScore, score_answers
from ckd.train.evaluation.views import Logits
from ckd.train.losses import BinaryLoss, LabelLoss
from ckd.train.recipes.stage import Stage
from ckd.train.systems.graph import System


def scored_outputs(stage: Stage, outputs: OutputSpec) -> OutputSpec:
    """The outputs that a stage is scored by: those that its losses are computed from.

    A teacher's logits are not an output of the system, but its stage is scored by them: if the
    losses use none of the system's class logits, the tensor that a loss of labels trains takes
    their place. All outputs may be None; then the stage is not scored.
    """
    tensors = set(stage.tensors())
    trained = (x.output for x in stage.losses if isinstance(x, LabelLoss | BinaryLoss))
    kept = outputs.renamed(lambda name: name if name in tensors else None)
    return replace(kept, class_logits=kept.class_logits or next(trained, None))


class PlainImages(Dataset[dict[str, Tensor]]):
    """Images at network size, not augmented.

    An item holds ``image``, uint8 [S, S, 3], and ``index``.
    """

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
    """Score a batch, sample by sample.

    Args:
        system: names the labels and the mask threshold.
        tensors: of the batch; outputs that are not among them are left out of the scores.
        samples: of the batch, in its order.
        outputs: which tensors are the outputs, if not those of ``system``.
    """
    outputs = outputs or system.outputs
    logits_by_name = {
        name: tensors[name].detach().float().cpu().numpy()
        for name in outputs.names()
        if name in tensors
    }

    def logits_of(row: int) -> Logits:
        return {name: logits[row] for name, logits in logits_by_name.items()}

    return [
        score_image(system, logits_of(row), sample, outputs) for row, sample in enumerate(samples)
    ]


def score_image(
    system: System, logits: Logits, sample: Sample, outputs: OutputSpec | None = None
) -> ImageScore:
    """Score one image's logits against its label and its mask, at the mask's own size.

    Outputs that are not among the logits are left out. ``outputs`` are by default the system's.
    """
    outputs = (outputs or system.outputs).renamed(lambda name: name if name in logits else None)
    truth_HW = None
    if sample.mask is not None and (outputs.mask_logits or outputs.coarse_logits):
        truth_HW = read_mask(sample.mask)
    else:
        outputs = replace(outputs, mask_logits=None, coarse_logits=None)
    height, width = (0, 0) if truth_HW is None else truth_HW.shape
    batch_of_one = {name: logits[name][None] for name in outputs.names()}
    answers = answers_from_logits(system, batch_of_one, height, width, outputs=outputs)
    return score_answers(answers, sample, truth_HW)
