"""One stage is trained: Lightning's trainer, its callbacks, and what may go wrong meanwhile."""

import os
import sys
from collections.abc import Sequence
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

from ckd.console import say
from ckd.contract.errors import EnvironmentUnusable, Interrupted
from ckd.train.feeding.workers import workers_named
from ckd.train.fitting.callbacks import BestEpoch, EpochLines, ExponentialAverage
from ckd.train.fitting.checkpoints import WholeCheckpoints
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.prepare import Training
from ckd.train.fitting.schedules import Plateau
from ckd.train.fitting.stage_data import for_stage
from ckd.train.fitting.stage_folder import BEST, LAST, LOGS
from ckd.train.fitting.whole_checkpoint import whole_checkpoint
from ckd.train.recipes.stage import LOWER_IS_BETTER, Stage
from ckd.train.systems.graph import System
from ckd.train.systems.members import with_members


def train_stage(
    training: Training,
    stage: Stage,
    options: FitOptions,
    callbacks: Sequence[pl.Callback] = (),
) -> None:
    """Train a stage, from its last finished epoch if there is one, and keep its weights.

    Args:
        training: that the stage belongs to; its system's networks of the stage are changed.
        stage: to train.
        options: how to train.
        callbacks: of Lightning, called before the stage's own.

    Raises:
        EnvironmentUnusable: the accelerator cannot do what is asked, its memory is full, or a
            process that loads images died.
        GateFailed: a loss is no number, or a frozen network was changed.
        Interrupted: by Ctrl-C or SIGTERM.
    """
    folder = training.run.stage(stage)
    # A stage that keeps its last epoch is trained blind, so that the validation images stay unseen
    # until the finished network is scored once. Inside a fold no images have to stay unseen.
    blind = stage.select == "last" and options.fold is None
    val_set = None if blind else training.val_set
    module = StageModule(
        training.recipe,
        stage,
        _system(training, stage),
        for_stage(training.train_set, stage),
        None if val_set is None else for_stage(val_set, stage),
        num_workers(options),
    )
    best = _best_epoch(stage, folder.path)
    on_terminal = sys.stderr.isatty()
    trainer = _trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision=training.recipe.precision,
        max_epochs=stage.epochs,
        accumulate_grad_batches=stage.accumulate,
        gradient_clip_val=stage.clip_norm,
        callbacks=[*callbacks, *_callbacks(stage, folder.path, best, on_terminal)],
        plugins=[WholeCheckpoints(kept=(LAST,))],
        logger=[CSVLogger(folder.path, LOGS), TensorBoardLogger(folder.path, LOGS)],
        reload_dataloaders_every_n_epochs=1,  # each epoch is another list of batches
        use_distributed_sampler=False,  # ours deals every sample out exactly once
        num_sanity_val_steps=0,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    if (checkpoint := folder.checkpoint) is not None:
        checkpoint, loss = whole_checkpoint(checkpoint, stage.name)
        if loss is not None:
            say(f"note: {stage.name}: {loss}")
        say(f"{stage.name}: going on from {checkpoint}")
    # Depthwise convolutions are twice as fast so on a CPU, and tensor cores want this layout.
    module.to(memory_format=torch.channels_last)
    try:
        with workers_named(f"stage {stage.name}"):
            trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:  # Lightning turns Ctrl-C and SIGTERM into this
        raise Interrupted(f"{stage.name} was interrupted; the same command goes on") from error
    except torch.OutOfMemoryError as error:
        raise EnvironmentUnusable(
            f"stage {stage.name}: the GPU's memory is full; lower the batch with "
            f"--set stages.{stage.name}.batch_size={max(1, stage.batch_size // 2)} "
            f"--set stages.{stage.name}.accumulate={2 * stage.accumulate}"
        ) from error
    module.check_frozen()
    if trainer.is_global_zero:
        folder.finish(stage.nodes, None if best is None else Path(best.best_model_path))
    trainer.strategy.barrier()


def _system(training: Training, stage: Stage) -> System:
    """The system, with the members that teach the stage if there are any."""
    if not stage.taught_by:
        return training.system
    return with_members(training.system, training.members(stage.taught_by))


def _monitored(stage: Stage) -> dict[str, Any]:
    mode = "min" if stage.monitor in LOWER_IS_BETTER else "max"
    return {"monitor": f"val/{stage.monitor}", "mode": mode}


def _best_epoch(stage: Stage, folder: Path) -> BestEpoch | None:
    if stage.select != "best":
        return None
    return BestEpoch(folder, filename=BEST, enable_version_counter=False, **_monitored(stage))


def _callbacks(
    stage: Stage, folder: Path, best: BestEpoch | None, on_terminal: bool
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [EpochLines(stage.name)]
    if best is not None:
        callbacks.append(best)
    if stage.stop_after is not None:
        callbacks.append(EarlyStopping(patience=stage.stop_after, **_monitored(stage)))
    last = ModelCheckpoint(
        folder, filename=LAST, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks.append(last)  # after `best`, whose state it holds
    if stage.schedule.kind == "plateau":
        callbacks.append(Plateau(stage.schedule, f"val/{stage.monitor}", stage.nodes))
    if stage.ema_decay is not None:
        callbacks.append(WeightAveraging(avg_fn=ExponentialAverage(stage.ema_decay)))
    if on_terminal:
        callbacks.append(TQDMProgressBar())
    return callbacks


def num_workers(options: FitOptions) -> int:
    """Number of processes that load images."""
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
