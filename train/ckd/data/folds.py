"""Folds inside the training images, for cross-validation."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ckd.data.samples import SampleSet


def split_fold(samples: SampleSet, which: int, of: int, seed: int) -> tuple[SampleSet, SampleSet]:
    """All samples but those of one of ``of`` folds, and that fold.

    Folds balance the classes and keep groups whole.
    """
    items = samples.samples
    folds = StratifiedGroupKFold(of, shuffle=True, random_state=seed)
    strata = [-1 if s.label is None else s.label for s in items]
    groups = [s.group or s.id for s in items]
    held_out = set(list(folds.split(np.zeros(len(items)), strata, groups))[which][1].tolist())
    inside = {items[i].id for i in held_out}
    return samples.only(lambda s: s.id not in inside), samples.only(lambda s: s.id in inside)
