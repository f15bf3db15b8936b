"""A training in two processes, which `test_two_processes.py` starts: `python two_processes.py DATA
FOLDER`.

It trains a stage through in FOLDER/a; in FOLDER/b it is killed and taken up again. Each process
writes what it saw of each training to FOLDER/<name>-<rank>.json. FOLDER/two.json is the recipe.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from ckd.scores.images import ImageScore
from ckd.train.fitting.fit import fit
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.options import FitOptions
from ckd.train.recipes.text import load_recipe


class Killed(BaseException):
    """Ends a training as if the process were killed."""


class Record(pl.Callback):
    """Notes steps, figures, the means of coarse logits by image, and the parameters at the end."""

    def __init__(self, kill_at: tuple[int, int] | None) -> None:
        self.kill_at = kill_at
        self.notes: dict[str, Any] = {"seen": [], "figures": [], "answers": {}, "parameters": []}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, StageModule)
        measure = pl_module.figures

        def watched(scores: Sequence[ImageScore]) -> dict[str, float]:
            figures = measure(scores)
            self.notes["figures"].append([pl_module.current_epoch, len(scores), figures])
            return figures

        pl_module.figures = watched

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (pl_module.current_epoch, batch_idx) == self.kill_at:
            raise Killed
        step = [pl_module.current_epoch, batch_idx, batch["index"].tolist()]
        self.notes["seen"].append(step)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, StageModule)
        assert pl_module.val_set is not None
        for index, logits in zip(batch["index"], outputs["coarse_logits"], strict=True):
            sample = pl_module.val_set.samples[int(index)]
            self.notes["answers"][sample.id] = logits.double().mean().item()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sums = [parameter.double().sum().item() for parameter in pl_module.parameters()]
        self.notes["parameters"].append(sums)


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    recipe = load_recipe(folder / "two.json")
    options = FitOptions(weights=None, stage="rootseg", accelerator="cpu", devices=2)
    for name, out in (("through", "a"), ("killed", "b"), ("resumed", "b")):
        record = Record((1, 1) if name == "killed" else None)
        try:
            fit(recipe, data, folder / out, options, callbacks=[record])
        except Killed:
            record.notes["killed"] = True
        rank = os.environ["LOCAL_RANK"]
        (folder / f"{name}-{rank}.json").write_text(json.dumps(record.notes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
