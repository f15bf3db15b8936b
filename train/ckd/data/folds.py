"""Folds inside the training images, for cross-validation."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ckd.contract.errors import UsageError
from ckd.data.samples import SampleSet


def split_fold(samples: SampleSet, which: int, of: int, seed: int) -> tuple[SampleSet, SampleSet]:
    """All samples but those of one of ``of`` folds, and that fold.

    Folds balance the classes and keep groups whole.

    Raises:
        UsageError: there are more folds than images of any class.
    """
    items = samples.samples
    folds = StratifiedGroupKFold(of, shuffle=True, random_state=seed)
    strata = [-1 if s.label is None else s.label for s in items]
    groups = [s.group or s.id for s in items]
    try:
        cuts = list(folds.split(np.zeros(len(items)), strata, groups))
    except ValueError as error:  # scikit-learn's
        raise UsageError(f"{samples.name} cannot be cut into {of} folds ({error})") from error
    held_out = set(cuts[which][1].tolist())
    inside = {items[i].id for i in held_out}
    return samples.only(lambda s: s.id not in inside), samples.only(lambda s: s.id in inside)
