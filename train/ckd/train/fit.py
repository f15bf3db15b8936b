"""Train a recipe's stages in order, each from the last finished epoch if there is one.

A run folder holds:

    recipe.json             every setting
    data.json               data set, counts and a digest of the file list
    <stage>/last.ckpt       network, optimiser and schedule after the last finished epoch
    <stage>/best.ckpt       the epoch that scored best, for stages that select it
    <stage>/logs/           CSV and TensorBoard curves, one folder for each time it was started
    <stage>/weights.pt      the stage's networks once it is finished
"""

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from ckd.contract.errors import InputError, UsageError
from ckd.train.config import Recipe, Stage, load_recipe
from ckd.train.data.dataset import drop_unreadable
from ckd.train.data.layouts import read_split
from ckd.train.data.samples import SampleSet
from ckd.train.module import StageModule
from ckd.train.networks.encoder import Weights
from ckd.train.schedules import Plateau
from ckd.train.systems.graph import System


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How to run, as opposed to what: none of this changes the result on one CPU process."""

    weights: Weights = "imagenet"
    stage: str = "all"
    fresh: bool = False
    fold: tuple[int, int] | None = None  # (which, of how many) inside the training images
    accelerator: str = "auto"
    devices: int = 1


def fit(recipe: Recipe, data: Path, out: Path, options: FitOptions) -> System:
    """Train, or go on training, and return the system with the finished stages' weights.

    Raises:
        InputError: the data set lacks what a stage needs.
        UsageError: ``out`` holds a run of other settings or data.
    """
    wanted = recipe.stages if options.stage == "all" else (recipe.stage(options.stage),)
    train_set, val_set = _read_data(recipe, data, options.fold)
    _open_run(out, recipe, train_set, options.fresh)
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # our own lines say what happens
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    system = recipe.system.build(train_set.labels, recipe.tasks, recipe.image_size, options.weights)
    for stage in recipe.stages:
        finished = out / stage.name / "weights.pt"
        if finished.exists():
            _load_stage(system, stage, finished)
            if stage in wanted:
                _say(f"{stage.name}: already trained, see {finished}")
        elif stage in wanted:
            _fit_stage(recipe, stage, system, train_set, val_set, out / stage.name, options)
            _load_stage(system, stage, finished)
        elif recipe.stages.index(stage) < recipe.stages.index(wanted[0]):
            raise UsageError(
                f"stage {wanted[0].name} needs {stage.name}, which is not trained in {out}; "
                f"run `ckd-train fit --stage {stage.name}` or `--stage all` first"
            )
    return system.eval()


def load_run(run: Path) -> tuple[Recipe, System]:
    """A finished run's recipe and trained system, in evaluation mode.

    Raises:
        InputError: not a run folder, or a stage in it is not finished.
    """
    if not (run / "recipe.json").is_file():
        raise InputError(f"{run}: not a run folder (no recipe.json); `ckd-train fit` makes one")
    recipe = load_recipe(run / "recipe.json")
    labels = tuple(json.loads((run / "data.json").read_text())["labels"])
    system = recipe.system.build(labels, recipe.tasks, recipe.image_size, None)
    for stage in recipe.stages:
        finished = run / stage.name / "weights.pt"
        if not finished.exists():
            raise InputError(f"{run}: stage {stage.name} is not finished; resume `ckd-train fit`")
        _load_stage(system, stage, finished)
    return recipe, system.eval()


def _read_data(
    recipe: Recipe, data: Path, fold: tuple[int, int] | None
) -> tuple[SampleSet, SampleSet]:
    train_set = read_split(data, "train")
    train_set, problems = drop_unreadable(train_set)
    for problem in problems:
        _say(f"left out: {problem}")
    if fold is None:
        val_set, problems = drop_unreadable(read_split(data, "val"))
        for problem in problems:
            _say(f"left out: {problem}")
    else:
        train_set, val_set = split_fold(train_set, *fold, seed=recipe.seed)
    for stage in recipe.stages:
        if not len(_for_stage(train_set, stage)):
            raise InputError(
                f"{data}: stage {stage.name} needs training images with a {stage.target}, "
                "there are none; `ckd-train data check` shows what was found"
            )
    return train_set, val_set


def split_fold(samples: SampleSet, which: int, of: int, seed: int) -> tuple[SampleSet, SampleSet]:
    """Everything but one of ``of`` folds, and that fold: classes balanced, groups kept whole."""
    items = samples.samples
    folds = StratifiedGroupKFold(of, shuffle=True, random_state=seed)
    strata = [-1 if s.label is None else s.label for s in items]
    groups = [s.group or s.id for s in items]
    held_out = set(list(folds.split(np.zeros(len(items)), strata, groups))[which][1].tolist())
    inside = {items[i].id for i in held_out}
    return samples.only(lambda s: s.id not in inside), samples.only(lambda s: s.id in inside)


def _fit_stage(
    recipe: Recipe,
    stage: Stage,
    system: System,
    train_set: SampleSet,
    val_set: SampleSet,
    out: Path,
    options: FitOptions,
) -> None:
    # A stage that keeps its last epoch is trained blind, so that the validation images stay unseen
    # until the finished network is scored once; inside a fold there is nothing to keep unseen.
    blind = stage.select == "last" and options.fold is None
    module = StageModule(
        recipe, stage, system, _for_stage(train_set, stage),
        None if blind else _for_stage(val_set, stage),
    )  # fmt: skip
    best = ModelCheckpoint(
        out, filename="best", monitor=f"val/{stage.monitor}", mode="max",
        enable_version_counter=False,
    )  # fmt: skip
    last = ModelCheckpoint(
        out, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[pl.Callback] = [last, _EpochLines(stage.name)]
    if stage.select == "best":
        callbacks.append(best)
    if stage.schedule.kind == "plateau":
        callbacks.append(Plateau(stage.schedule, f"val/{stage.monitor}"))
    if stage.ema_decay is not None:
        callbacks.append(WeightAveraging(avg_fn=_ExponentialAverage(stage.ema_decay)))
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        callbacks.append(TQDMProgressBar())
    trainer = pl.Trainer(
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
        _say(f"{stage.name}: going on from {checkpoint}")
    # Twice as fast for depthwise convolutions on a CPU, and what tensor cores want.
    module.to(memory_format=torch.channels_last)
    trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None)
    module.assert_frozen()
    chosen = Path(best.best_model_path) if stage.select == "best" else checkpoint
    if trainer.is_global_zero:
        state = torch.load(chosen, map_location="cpu", weights_only=False)["state_dict"]
        weights = {
            name: {
                key.removeprefix(f"system.networks.{name}."): value
                for key, value in state.items()
                if key.startswith(f"system.networks.{name}.")
            }
            for name in stage.nodes
        }
        partial = out / "weights.pt.partial"
        torch.save(weights, partial)
        partial.replace(out / "weights.pt")
    trainer.strategy.barrier()


def _for_stage(samples: SampleSet, stage: Stage) -> SampleSet:
    return samples.with_masks() if stage.target == "mask" else samples.with_labels()


def _load_stage(system: System, stage: Stage, weights: Path) -> None:
    for name, state in torch.load(weights, map_location="cpu", weights_only=True).items():
        system.networks[name].load_state_dict(state)


def _open_run(out: Path, recipe: Recipe, train_set: SampleSet, fresh: bool) -> None:
    """Create the run folder, or make sure that it holds this very run."""
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return  # the first process has done it
    if fresh and (out / "recipe.json").exists():
        shutil.rmtree(out)
    described = {
        "name": train_set.name,
        "labels": list(train_set.labels),
        "num_train": len(train_set),
        "class_counts": list(train_set.class_counts()),
        "digest": _digest(train_set),
    }
    if (out / "recipe.json").exists():
        same = load_recipe(out / "recipe.json") == recipe
        if not same or json.loads((out / "data.json").read_text()) != described:
            what = "data" if same else "settings"
            raise UsageError(
                f"{out} holds a run of other {what}; name another folder with --out, "
                "or start over with --fresh"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "data.json").write_text(json.dumps(described, indent=2) + "\n")
    recipe.save(out / "recipe.json")


def _digest(samples: SampleSet) -> str:
    """Identity of a data set: names, labels and file sizes; reading every byte would take long."""
    lines = (f"{s.id} {s.label} {s.image.stat().st_size}" for s in samples.samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _say(line: str) -> None:
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        print(line, file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _ExponentialAverage:
    """Exponential moving average that leaves frozen weights alone to the last bit.

    PyTorch's own computes decay * a + (1 - decay) * b, which rounds even where a equals b.
    """

    decay: float

    def __call__(self, average: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        """The next average; counters are taken over as they are."""
        if not current.is_floating_point():
            return current
        return torch.lerp(average, current, 1.0 - self.decay)


class _EpochLines(pl.Callback):
    """One line an epoch, for logs and for terminals without a bar."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures = _figures(trainer.callback_metrics)
        _say(f"{self.stage}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {figures}")


def _figures(metrics: dict[str, Any]) -> str:
    shown: Sequence[str] = [
        f"{name} {float(value):.4f}"
        for name, value in metrics.items()
        if name.startswith("val/") or name == "train/loss"
    ]
    return "  ".join(shown)
