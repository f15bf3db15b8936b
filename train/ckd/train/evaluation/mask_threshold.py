"""The probability at which masks are cut: chosen on training images, kept with the run.

The losses weigh lesion and skin equally however small the lesion is, so masks come out too large
and the best cut lies above one half. The published protocol cuts at 0.5, and so does a run without
`mask_threshold.json`. The threshold is chosen for the fine masks and also used for the coarse
ones. A teacher has a threshold of its own; otherwise its scores could not be compared with those
of its student.

Suffixes: T thresholds, N images.
"""

from pathlib import Path

import numpy as np
import torch

from ckd.console.progress import Progress, say
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json
from ckd.data.masks import read_mask
from ckd.data.samples import SampleSet
from ckd.finding.files import write_json
from ckd.finding.logits import enlarge_logits, logit
from ckd.train.evaluation.views import image_logits
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System

MASK_THRESHOLD = "mask_threshold.json"
TEACHER_MASK_THRESHOLD = "mask_threshold_teacher.json"
#: The thresholds to choose from.
GRID_T = tuple(round(0.30 + 0.02 * step, 2) for step in range(26))


def subjects(system: System) -> dict[str, System]:
    """The systems that a threshold is chosen for, by their file in the run folder.

    These are the system and, if there is one that makes masks, the teacher in it.
    """
    teacher = rewrite.teacher(system) if rewrite.has_teacher(system) else None
    if teacher is None or teacher.outputs.mask_logits is None:
        return {MASK_THRESHOLD: system}
    return {TEACHER_MASK_THRESHOLD: teacher, MASK_THRESHOLD: system}


@torch.no_grad()
def choose_mask_threshold(
    system: System,
    samples: SampleSet,
    path: Path,
    progress: Progress | None = None,
) -> float:
    """The threshold with the best mean Jaccard index, written to ``path`` and returned.

    Args:
        system: trained; its ``mask_threshold`` is set.
        samples: those it was trained on, so that the validation images stay unseen.
        path: file to write.
        progress: called with the number of images done and of all.

    Raises:
        InputError: the system makes no masks, or the samples have none.
    """
    name, masked = system.outputs.mask_logits, samples.with_masks().samples
    if name is None or not masked:
        raise InputError("a mask threshold needs a system that makes masks and images with masks")
    system.eval()
    jaccard_NT = np.zeros((len(masked), len(GRID_T)))
    for number, (sample, logits) in enumerate(image_logits(system, masked, "1", Augmentation())):
        assert sample.mask is not None
        truth_HW = read_mask(sample.mask)
        logits_HW = enlarge_logits(logits[name][0], *truth_HW.shape)
        for column, threshold in enumerate(GRID_T):
            mask_HW = logits_HW > logit(threshold)
            jaccard_NT[number, column] = confusion_from_masks(mask_HW, truth_HW).jaccard
        if progress is not None:
            progress(number + 1, len(masked))
    means_T = jaccard_NT.mean(axis=0)
    chosen = GRID_T[int(means_T.argmax())]
    record = {
        "mask_threshold": chosen,
        "weights": system.digest(),
        "chosen_on": f"{samples.name} {samples.split}, {len(masked)} images",
        "jaccard": dict(zip(map(str, GRID_T), means_T.round(4).tolist(), strict=True)),
    }
    write_json(path, record)
    system.mask_threshold = chosen
    say(f"mask threshold {chosen} ({path.name}), chosen on {record['chosen_on']}")
    return chosen


def load_mask_threshold(path: Path, system: System) -> float:
    """The threshold in a file that `choose_mask_threshold` wrote, or 0.5 if there is no file.

    Files of older runs are called "operating_point..." instead, and are read.

    Raises:
        InputError: the file is damaged, or was written for other weights than the system's.
    """
    if not path.exists():
        path = path.with_name(path.name.replace("mask_threshold", "operating_point"))
    if not path.exists():
        return 0.5
    try:
        record = read_json(path)
        threshold = float(record["mask_threshold"])
        weights = record["weights"]
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"{threshold} is no probability to cut at")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: damaged ({error}); remove it and repeat `ckd-train fit`, which chooses anew"
        ) from error
    if weights != system.digest():
        raise InputError(f"{path}: chosen for other weights; remove it and repeat `ckd-train fit`")
    return threshold
