"""Runs that several test files look at: each is trained once in a test session.

The runs are of generated images at 64 px and take seconds each; whether they learn is not asked.
The processes of pytest-xdist share them: the first that needs one makes it under a file lock.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch import Tensor

from ckd.console import Bars, no_bars
from ckd.data.synthetic.write import write_isic2017
from ckd.scores.images import ImageScore
from ckd.train.fitting.fit import fit
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.options import FitOptions
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.graph import System

#: The three kinds of stages that recipes have: averaged weights and the last epoch; a plateau that
#: goes back to the best epoch, which is also kept; several nodes at once.
RECIPE = with_overrides(
    ckdnet_tiny(),
    [
        "system.rootseg_width=8",
        "system.rootseg_low_width=4",
        "system.entangle_widths=[8,8,8,8]",
        "system.decoder_widths=[16,12,8,8,4]",
        *(f"stages.{stage}.batch_size=4" for stage in ("rootseg", "cls", "seg")),
        "stages.rootseg.ema_decay=0.5",
        "stages.cls.epochs=4",
        "stages.cls.accumulate=2",
        "stages.cls.ema_decay=null",
        "stages.cls.select=best",
        'stages.cls.schedule={"kind":"plateau","factor":0.5,"patience":2,"reload_best":true}',
        "stages.seg.epochs=1",
    ],
)

#: Validation scores that the classifier's epochs are given, so that what follows is known: the best
#: is the first, two bad ones lower the rate, and a third follows.
SCORES = (0.9, 0.5, 0.7, 0.8)

#: Where a run is killed: stage, epoch, batch. Each place is in the middle of an epoch, past the
#: first batch; the classifier's is between two accumulated batches and just after its best epoch,
#: which it must not forget.
PLACES = (("rootseg", 1, 1), ("cls", 1, 1), ("seg", 0, 1))

#: A training step: stage, epoch, and the images of its batch.
Step = tuple[str, int, tuple[int, ...]]


class Killed(BaseException):
    """Ends a training as if the process were killed."""


class Watch(pl.Callback):
    """Notes every training step, gives the classifier's epochs `SCORES`, and kills where told."""

    def __init__(self, kill_at: tuple[str, int, int] | None = None) -> None:
        self.steps: list[Step] = []
        self.kill_at = kill_at

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, StageModule)
        measure, trained = pl_module.figures, pl_module.stage

        def scripted(scores: Sequence[ImageScore]) -> dict[str, float]:
            return {**measure(scores), "mean_auc": SCORES[pl_module.current_epoch]}

        if trained.name == "cls" and trained.epochs == len(SCORES):
            pl_module.figures = scripted

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StageModule)
        name, epoch = pl_module.stage.name, pl_module.current_epoch
        if self.kill_at == (name, epoch, batch_idx):
            raise Killed
        self.steps.append((name, epoch, tuple(batch["index"].tolist())))


@dataclass(frozen=True)
class TakenUp:
    """A run that was killed at each of `PLACES` and taken up again."""

    run: Path
    in_cls: Path  # the folder as it was when the classifier was killed, under another name then
    steps: list[list[Step]]  # of each attempt


class TrainingRuns:
    """Trains, and gives the shared runs; these are read only.

    Args:
        folder: that the processes of this test session share.
    """

    recipe = RECIPE
    scores = SCORES
    num_train = 10
    num_val = 6
    options = FitOptions(weights=None, accelerator="cpu")
    rootseg = replace(options, stage="rootseg")

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def watch() -> Watch:
        """Notes the training steps of the `fit` that it is given to."""
        return Watch()

    def fit(
        self,
        out: Path,
        recipe: Recipe = RECIPE,
        options: FitOptions = options,
        *,
        data: Path | None = None,
        watch: Watch | None = None,
        bars: Bars = no_bars,
        callbacks: Iterable[pl.Callback] = (),
    ) -> System:
        """Train a recipe on the shared images, or on others."""
        watching = (watch or Watch(), *callbacks)
        return fit(recipe, data or self.data, out, options, bars, watching)

    @cached_property
    def data(self) -> Path:
        """Generated images in the layout of ISIC 2017."""

        def make(folder: Path) -> None:
            write_isic2017(folder, num_train=self.num_train, num_val=self.num_val, side_px=64)

        return self.shared("isic2017", make)

    @cached_property
    def finished(self) -> Path:
        """A run of all three stages, never interrupted."""
        return self.shared("finished", self.fit)

    @cached_property
    def interrupted(self) -> TakenUp:
        """The same run, interrupted three times."""
        folder = self.shared("interrupted", self._interrupted)
        steps = [
            [(stage, epoch, tuple(images)) for stage, epoch, images in attempt]
            for attempt in json.loads((folder / "steps.json").read_text())
        ]
        return TakenUp(folder / "taken_up", folder / "in_cls", steps)

    def _interrupted(self, folder: Path) -> None:
        steps = []
        for place in (*PLACES, None):
            watch = Watch(place)
            if place is None:
                self.fit(folder / "run", watch=watch)
            else:
                with pytest.raises(Killed):
                    self.fit(folder / "run", watch=watch)
            steps.append(watch.steps)
            if place is not None and place[0] == "cls":
                shutil.copytree(folder / "run", folder / "in_cls")
        # So that nothing is at the place that the copy knows its run by.
        (folder / "run").rename(folder / "taken_up")
        (folder / "steps.json").write_text(json.dumps(steps))

    def shared(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder that ``make`` wrote, in this process or in another of the session."""
        folder, ready = self._folder / name, self._folder / f"{name}.ready"
        with FileLock(self._folder / f"{name}.lock"):
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                ready.touch()
        return folder

    @staticmethod
    def weights_of(run: Path, stage: str) -> dict[str, Tensor]:
        """The weights of a finished stage, by node and key."""
        return dict(load_file(run / stage / "weights.safetensors"))

    @staticmethod
    def checkpoint(run: Path, stage: str, which: str = "last") -> dict[str, Any]:
        """What Lightning saved of a stage."""
        return dict(torch.load(run / stage / f"{which}.ckpt", weights_only=False))

    @staticmethod
    def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
        """Equal to the last bit."""
        assert got.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(got[key], tensor), key

    @staticmethod
    def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
        """All files below a folder, with their times."""
        return {
            str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test session see."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared_runs"
    folder.mkdir(exist_ok=True)
    return folder
