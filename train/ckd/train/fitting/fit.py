"""Train a recipe's stages in order, each from the last finished epoch if there is one."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from ckd.console.progress import is_first_process, say
from ckd.contract.errors import EnvironmentUnusable, Interrupted, UsageError
from ckd.data.samples import SampleSet, numbered_as
from ckd.train.evaluation.operating_point import (
    OPERATING_POINT,
    choose_mask_threshold,
    load_mask_threshold,
    subjects,
)
from ckd.train.fitting.callbacks import BestEpoch, EpochLines, ExponentialAverage
from ckd.train.fitting.machine import Accelerator, device_for
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.reuse import Reuse
from ckd.train.fitting.run_folder import (
    describe,
    ground_of,
    load_stage,
    note_ground,
    open_run,
    save_stage,
)
from ckd.train.fitting.schedules import Plateau
from ckd.train.fitting.stage_data import Bars, check_shares, for_stage, no_bars, read_data
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import LOWER_IS_BETTER, Recipe, Stage
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import deployed


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How and from where to run a recipe, as opposed to what the recipe is."""

    weights: Weights = "imagenet"
    stage: str = "all"
    fresh: bool = False
    reuse: Path | None = None  # run whose finished stages are taken where they are the same
    fold: tuple[int, int] | None = None  # (which, of how many) inside the training images
    accelerator: Accelerator = "auto"
    devices: int = 1
    num_workers: int | None = None  # that load images; by default none on a CPU, 8 beside a GPU


def fit(
    recipe: Recipe,
    data: Path,
    out: Path,
    options: FitOptions,
    bars: Bars = no_bars,
) -> System:
    """Train, or go on training, and return the system with the finished stages' weights.

    All images are read once beforehand. Once all stages are finished, or all of a teacher's, the
    mask threshold is chosen where the recipe asks for it. Both are shown by ``bars``; training
    shows its own.

    Raises:
        InputError: the data set lacks what a stage needs.
        UsageError: ``out`` holds a run of other settings or data, or nothing of the run to reuse
            is of use.
        EnvironmentUnusable: starting weights or the accelerator cannot be had.
    """
    if not is_first_process():
        bars = no_bars
    device = device_for(options.accelerator, options.devices)
    wanted = recipe.stages if options.stage == "all" else (recipe.stage(options.stage),)
    train_set, val_set = read_data(recipe, wanted, data, options.fold, bars)
    check_shares(wanted, train_set, val_set, options.devices)
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # our own lines say what happens
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    system = recipe.system.build(train_set.labels, recipe.tasks, recipe.image_size, options.weights)
    _check_nodes(recipe, system)
    reuse = None
    if options.reuse is not None:
        described = describe(train_set, options.weights)
        reuse = Reuse(options.reuse, recipe, described, system, options.weights)
    first = recipe.stages.index(wanted[0])
    for stage in recipe.stages[:first]:
        if not (out / stage.name / "weights.pt").exists():
            raise UsageError(
                f"stage {wanted[0].name} needs {stage.name}, which is not trained in {out}; "
                f"run `ckd-train fit --stage {stage.name}` or `--stage all` first"
            )
    as_found, exclusive = train_set, system.outputs.exclusive
    train_set = numbered_as(system.labels, train_set, exclusive=exclusive)
    if val_set is not None:
        val_set = numbered_as(system.labels, val_set, exclusive=exclusive)

    def ground(stage: Stage, upstream: set[str]) -> str:
        return ground_of(system.digest(upstream), val_set if stage.select == "best" else None)

    starts = options.fresh or not (out / recipe.stages[0].name / "rests_on.txt").exists()
    if reuse is not None and first == 0 and starts:
        _check_use(reuse, recipe.stages[0], ground(recipe.stages[0], set()))
    # What lies downstream of a stage that is started over was trained on its old weights.
    fresh = recipe.stages[first:] if options.fresh else ()
    open_run(out, recipe, as_found, options.weights, fresh)
    upstream: set[str] = set()
    for stage in recipe.stages:
        finished = out / stage.name / "weights.pt"
        if stage in wanted:
            rests_on = ground(stage, upstream)
            if reuse is not None and not (out / stage.name / "rests_on.txt").exists():
                obstacle = reuse.take(stage, out / stage.name, rests_on)
                if obstacle is not None:
                    say(f"{stage.name}: trained anew; {obstacle}")
            note_ground(out / stage.name, rests_on)
        if finished.exists():
            load_stage(system, stage, finished)
            if stage in wanted:
                say(f"{stage.name}: already trained, see {finished}")
        elif stage in wanted:
            for file, subject in subjects(system).items():
                if set(stage.nodes) & set(subject.networks):
                    (out / file).unlink(missing_ok=True)  # it was chosen for other weights
            _fit_stage(recipe, stage, system, train_set, val_set, out / stage.name, options)
            load_stage(system, stage, finished)
        upstream |= set(stage.nodes)
    trained = {s.name: (out / s.name / "weights.pt").exists() for s in recipe.stages}
    if recipe.mask_threshold == "chosen_on_train" and is_first_process():
        for file, subject in subjects(system).items():
            parts = [stage for stage in recipe.stages if set(stage.nodes) & set(subject.networks)]
            if all(trained[part.name] for part in parts) and not (out / file).exists():
                bar = bars("mask threshold")
                choose_mask_threshold(subject.to(device), train_set, out / file, bar)
    if all(trained.values()):
        system.mask_threshold = load_mask_threshold(out / OPERATING_POINT, system)
    return deployed(system).cpu().eval()


def _check_use(reuse: Reuse, first: Stage, ground: str) -> None:
    """On the first stage all others rest; asked before the run's folder is made."""
    if (obstacle := reuse.obstacle(first, ground)) is not None:
        raise UsageError(
            f"{reuse.run}: nothing of it can be reused: of {first.name} {obstacle}; "
            "leave out --reuse, or name another run"
        )


def _check_nodes(recipe: Recipe, system: System) -> None:
    for stage in recipe.stages:
        if unknown := set(stage.nodes) - set(system.networks):
            raise UsageError(
                f"stage {stage.name}: {system.name} has no node {min(unknown)!r}; expected "
                f"{', '.join(system.networks)}"
            )
        system.needed(stage.tensors())
    trained = {name for stage in recipe.stages for name in stage.nodes}
    if forgotten := set(system.networks) - trained:
        raise UsageError(
            f"recipe {recipe.name}: no stage trains {', '.join(sorted(forgotten))}; "
            "its weights would be lost"
        )


def _fit_stage(
    recipe: Recipe,
    stage: Stage,
    system: System,
    train_set: SampleSet,
    val_set: SampleSet | None,
    out: Path,
    options: FitOptions,
) -> None:
    # A stage that keeps its last epoch is trained blind, so that the validation images stay unseen
    # until the finished network is scored once; inside a fold there is nothing to keep unseen.
    blind = stage.select == "last" and options.fold is None
    module = StageModule(
        recipe, stage, system, for_stage(train_set, stage),
        None if blind or val_set is None else for_stage(val_set, stage),
        _num_workers(options),
    )  # fmt: skip
    monitor, mode = f"val/{stage.monitor}", "min" if stage.monitor in LOWER_IS_BETTER else "max"
    best = BestEpoch(out, filename="best", monitor=monitor, mode=mode, enable_version_counter=False)
    last = ModelCheckpoint(
        out, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[pl.Callback] = [EpochLines(stage.name)]
    if stage.select == "best":
        callbacks.append(best)
    if stage.stop_after is not None:
        callbacks.append(EarlyStopping(monitor, patience=stage.stop_after, mode=mode))
    callbacks.append(last)  # after `best`, whose state it holds
    if stage.schedule.kind == "plateau":
        callbacks.append(Plateau(stage.schedule, monitor, stage.nodes))
    if stage.ema_decay is not None:
        callbacks.append(WeightAveraging(avg_fn=ExponentialAverage(stage.ema_decay)))
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        callbacks.append(TQDMProgressBar())
    trainer = _trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision=recipe.precision,
        max_epochs=stage.epochs,
        accumulate_grad_batches=stage.accumulate,
        gradient_clip_val=stage.clip_norm,
        callbacks=callbacks,
        logger=[CSVLogger(out, "logs"), TensorBoardLogger(out, "logs")],
        reload_dataloaders_every_n_epochs=1,  # each epoch is another list of batches
        use_distributed_sampler=False,  # ours deals every sample out exactly once
        num_sanity_val_steps=0,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    checkpoint = out / "last.ckpt"
    if checkpoint.exists():
        say(f"{stage.name}: going on from {checkpoint}")
    # Twice as fast for depthwise convolutions on a CPU, and what tensor cores want.
    module.to(memory_format=torch.channels_last)
    try:
        trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None)
    except SystemExit as error:  # what Lightning makes of Ctrl-C and SIGTERM
        raise Interrupted(f"{stage.name} was interrupted; the same command goes on") from error
    except torch.OutOfMemoryError as error:
        raise EnvironmentUnusable(
            f"stage {stage.name}: the GPU's memory is full; lower the batch with "
            f"--set stages.{stage.name}.batch_size={max(1, stage.batch_size // 2)} "
            f"--set stages.{stage.name}.accumulate={2 * stage.accumulate}"
        ) from error
    module.check_frozen()
    chosen = Path(best.best_model_path) if stage.select == "best" else checkpoint
    if trainer.is_global_zero:
        save_stage(stage, chosen, out)
    trainer.strategy.barrier()


def _num_workers(options: FitOptions) -> int:
    if options.num_workers is not None:
        return options.num_workers
    # On a CPU they would only take its cores from the networks.
    on_gpu = device_for(options.accelerator) == "cuda"
    return min(8, (os.cpu_count() or 2) // options.devices) if on_gpu else 0


def _trainer(**settings: Any) -> pl.Trainer:
    try:
        return pl.Trainer(**settings)
    except MisconfigurationException as error:  # more devices than there are, no bfloat16
        raise EnvironmentUnusable(f"cannot train here: {error}") from error
