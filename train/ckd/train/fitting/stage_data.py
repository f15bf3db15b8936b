"""Which images a recipe's stages are trained and watched on, and whether they are enough."""

from collections.abc import Sequence
from pathlib import Path

from ckd.console import Bars, say
from ckd.contract.errors import InputError
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet, Split
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.losses.term import ClassCounts
from ckd.train.recipes.recipe import AnyStage, Recipe


def read_data(
    recipe: Recipe, stages: Sequence[AnyStage], data: Path, fold: tuple[int, int] | None, bars: Bars
) -> tuple[SampleSet, SampleSet | None]:
    """Training images of ``stages``, and those to watch the training on, if any stage does.

    All are read once; images that cannot be read are left out and named on stderr. Inside a
    ``fold`` both are training images.

    Raises:
        InputError: there are no images with what a stage needs.
        UsageError: the images cannot be cut into so many folds.
    """
    train_set = _readable(data, "train", recipe, bars)
    val_set = None
    if fold is not None:
        train_set, val_set = split_fold(train_set, *fold, seed=recipe.seed)
    elif any(stage.select == "best" for stage in stages):
        val_set = _readable(data, "val", recipe, bars)
    for stage in stages:
        for samples in (train_set, val_set if stage.select == "best" else None):
            if samples is not None and not len(for_stage(samples, stage)):
                raise InputError(
                    f"{data}: stage {stage.name} needs {samples.split} images with a "
                    f"{' and a '.join(sorted(stage.needs)) or 'known truth'}, there are none; "
                    "`ckd-train data check` shows what was found"
                )
    return train_set, val_set


def check_shares(
    stages: Sequence[AnyStage], train_set: SampleSet, val_set: SampleSet | None, devices: int
) -> None:
    """Make sure that each process gets two training images and one to score.

    Batch normalisation needs the two.

    Raises:
        InputError: the images are too few.
    """
    for stage in stages:
        num_train = len(for_stage(train_set, stage))
        # A stage that keeps its last epoch is not validated; in a fold all stages are scored.
        scored = val_set is not None and (stage.select == "best" or val_set.split == "train")
        num_val = len(for_stage(val_set, stage)) if val_set is not None and scored else None
        if num_train < 2 * devices or (num_val is not None and num_val < devices):
            counts = f"{num_train} training" + (f" and {num_val} validation" if scored else "")
            raise InputError(
                f"stage {stage.name}: {counts} images are too few for {devices} "
                f"process{'es' if devices > 1 else ''}; expected 2 training images and, where it "
                "is validated, 1 validation image for each"
            )


def _readable(data: Path, split: Split, recipe: Recipe, bars: Bars) -> SampleSet:
    listed = read_split(data, split, recipe.split_by, say)
    samples, problems = drop_unreadable(listed, bars(f"{split} files"))
    for problem in problems:
        say(f"left out: {problem}")
    return samples


def for_stage(samples: SampleSet, stage: AnyStage) -> SampleSet:
    """Those with what the stage's losses need."""
    if "mask" in stage.needs:
        samples = samples.with_masks()
    return samples.with_labels() if "label" in stage.needs else samples


def class_counts(train_set: SampleSet) -> ClassCounts:
    """What losses must know of the training images."""
    return ClassCounts(train_set.class_counts(), len(train_set.with_labels()))
