"""Train a recipe's stages in order, each from its last finished epoch if there is one."""

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl

from ckd.console import Bars, is_first_process, no_bars, say
from ckd.train.feeding.workers import workers_named
from ckd.train.fitting.alone import alone_in
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.plan import StagePlan
from ckd.train.fitting.prepare import Training, prepare
from ckd.train.fitting.soup import average_stage
from ckd.train.fitting.thresholds import forget_thresholds, settle_thresholds
from ckd.train.fitting.train_stage import num_workers, train_stage
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.soup import Soup
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import deployed


def fit(
    recipe: Recipe,
    data: Path,
    out: Path,
    options: FitOptions,
    bars: Bars = no_bars,
    callbacks: Sequence[pl.Callback] = (),
) -> System:
    """Train, or go on training, and return the system with the finished stages' weights.

    All images are read once beforehand. Once all stages are finished, or all of a teacher's, the
    mask threshold is chosen where the recipe asks for it.

    Args:
        recipe: to be trained.
        data: folder of the data set.
        out: the run folder, created if missing.
        options: how to train.
        bars: show how the reading of images and the choice of a threshold advance; training shows
            its own bars.
        callbacks: of Lightning, to watch every stage with.

    Raises:
        InputError: the data set lacks what a stage needs.
        UsageError: ``out`` holds a run of other settings or data, another process works in it, or
            nothing of the run to reuse is of use.
        EnvironmentUnusable: starting weights or the accelerator cannot be had.
    """
    with alone_in(out):
        return fit_alone(recipe, data, out, options, bars, callbacks)


def fit_alone(
    recipe: Recipe,
    data: Path,
    out: Path,
    options: FitOptions,
    bars: Bars = no_bars,
    callbacks: Sequence[pl.Callback] = (),
) -> System:
    """As `fit`, for a caller that is `alone_in` the run folder and does more in it afterwards."""
    bars = bars if is_first_process() else no_bars
    training, steps = prepare(recipe, data, out, options, bars)
    training.run.open(recipe, training.description, training.fresh)
    for step in steps:
        _carry_out(step, training, options, callbacks)
    settle_thresholds(training, device_for(options.accelerator, options.devices), bars)
    return deployed(training.system).cpu().eval()


def planned(
    recipe: Recipe, data: Path, out: Path, options: FitOptions, bars: Bars = no_bars
) -> list[StagePlan]:
    """What `fit` would do with each stage, with the same errors; nothing is written."""
    return prepare(recipe, data, out, options, bars)[1]


def _carry_out(
    step: StagePlan, training: Training, options: FitOptions, callbacks: Sequence[pl.Callback]
) -> None:
    stage, folder = step.stage, training.run.stage(step.stage)
    if step.source is not None:
        folder.take_from(step.source)
        say(f"{stage.name}: taken from {step.source.path}")
    if step.obstacle is not None:
        say(f"{stage.name}: trained anew; {step.obstacle}")
    if step.is_asked_for:
        folder.begin(training.own_ground(stage))
    if step.trains:
        forget_thresholds(training, stage)
        if isinstance(stage, Soup):
            device = device_for(options.accelerator, options.devices)
            with workers_named(f"stage {stage.name}"):
                average_stage(training, stage, device, num_workers(options))
        else:
            training.set_start(stage)
            train_stage(training, stage, options, callbacks)
    elif step.is_asked_for:
        say(f"{stage.name}: already trained, see {folder.weights}")
    if folder.is_done:
        folder.load_into(training.system)
