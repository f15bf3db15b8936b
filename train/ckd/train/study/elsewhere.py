"""A look at another clinic's images: how well labels are told from all others there.

Nothing may be chosen by these figures: they show what a choice made on the folds is worth on images
of another kind.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ckd.console import Bars
from ckd.contract.errors import InputError
from ckd.contract.whole_file import replace_file
from ckd.data.layouts import read_split
from ckd.finding.logits import class_probabilities
from ckd.scores.ranking import roc_auc
from ckd.train.evaluation.views import image_logits
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.fitting.identity import digest
from ckd.train.fitting.run_folder import load_run
from ckd.train.study.folder import read_object

ELSEWHERE: Final = "elsewhere.json"


def judge_elsewhere(
    run: Path, data: Path, stands_for: Mapping[str, str], device: str, bars: Bars
) -> dict[str, Any]:
    """Area under the ROC curve of each label against all other images of the data set.

    What was judged before on the same images is not judged again.

    Args:
        run: folder of a finished run, in which "elsewhere.json" is written.
        data: folder of the other data set; its training images are taken.
        stands_for: for labels of the run, the label of the data set that stands for it.
        device: to compute on.
        bars: begins one bar.

    Raises:
        InputError: the images cannot be read.
    """
    listed = read_split(data, "train").with_labels()
    identity = {"images": digest(listed), "labels": dict(stands_for)}
    path = run / ELSEWHERE
    if path.exists():
        before = read_object(path, ("of", "auc"))
        if before["of"] == identity:
            return before
    samples, _ = drop_unreadable(listed)
    _, system = load_run(run)
    system.to(device).eval()
    labels_only = system.with_nodes(
        system.nodes,
        system.outputs.renamed(lambda name: name if name == system.outputs.class_logits else None),
    ).eval()
    bar = bars(f"judge {data.name}")
    rows = []
    for sample, logits in image_logits(labels_only, samples.samples, "1", Augmentation(), 16):
        values = logits[str(system.outputs.class_logits)]
        rows.append(class_probabilities(values, exclusive=system.outputs.exclusive))
        bar(len(rows), len(samples))
        del sample
    probabilities_NK = np.stack(rows)
    truth_N = np.array([sample.label for sample in samples.samples])
    areas = {
        ours: roc_auc(
            probabilities_NK[:, system.labels.index(ours)],
            truth_N == samples.labels.index(theirs),
        )
        for ours, theirs in stands_for.items()
    }
    content = {
        "of": identity,
        "name": samples.name,
        "num_images": len(samples),
        "auc": {name: None if math.isnan(area) else area for name, area in areas.items()},
    }
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())
    return content


def areas_of(path: Path) -> dict[str, float]:
    """By label what `judge_elsewhere` wrote; `InputError` if the file is damaged."""
    return {
        name: area
        for name, area in read_object(path, ("of", "auc"))["auc"].items()
        if area is not None
    }


def check_elsewhere(labels: Sequence[str], data: Path, stands_for: Mapping[str, str]) -> None:
    """Make sure, before anything is trained, that both sides have the labels.

    Raises:
        InputError: the data set cannot be read, or one side has no such label.
    """
    theirs = read_split(data, "train").with_labels().labels
    for names, known, where in (
        (stands_for, labels, "the training images"),
        (stands_for.values(), theirs, str(data)),
    ):
        if unknown := [name for name in names if name not in known]:
            raise InputError(
                f"{where}: no label {unknown[0]!r}, which [elsewhere] names; expected one of "
                f"{', '.join(known)}"
            )
