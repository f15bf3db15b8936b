"""The mask thresholds of a run: chosen once all stages that they depend on are trained."""

from ckd.console import Bars, is_first_process
from ckd.train.evaluation.mask_threshold import (
    MASK_THRESHOLD,
    choose_mask_threshold,
    load_mask_threshold,
    subjects,
)
from ckd.train.fitting.prepare import Training
from ckd.train.recipes.recipe import AnyStage


def forget_thresholds(training: Training, stage: AnyStage) -> None:
    """Remove thresholds that were chosen for weights which the stage is about to replace."""
    for file, subject in subjects(training.system).items():
        if set(stage.nodes) & set(subject.networks):
            (training.run.path / file).unlink(missing_ok=True)


def settle_thresholds(training: Training, device: str, bars: Bars) -> None:
    """Choose thresholds that are due, and set the system's if all of its stages are trained.

    The system is left on ``device`` if a threshold was chosen.
    """
    recipe, run, system = training.recipe, training.run, training.system
    done = {stage.name for stage in recipe.stages if run.stage(stage).is_done}
    if recipe.mask_threshold == "chosen_on_train" and is_first_process():
        for file, subject in subjects(system).items():
            parts = {s.name for s in recipe.stages if set(s.nodes) & set(subject.networks)}
            if parts <= done and not (run.path / file).exists():
                bar = bars("mask threshold")
                choose_mask_threshold(subject.to(device), training.train_set, run.path / file, bar)
    if len(done) == len(recipe.stages):
        system.mask_threshold = load_mask_threshold(run.path / MASK_THRESHOLD, system)
