"""What happens around the epochs: averaged weights, and a line to read after each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from ckd.console.progress import say


@dataclass(frozen=True, slots=True)
class ExponentialAverage:
    """Exponential moving average that leaves frozen weights alone to the last bit.

    PyTorch's own computes decay * a + (1 - decay) * b, which rounds even where a equals b. The
    decay grows from 0.1 at first, or a short run would keep its initial weights.
    """

    decay: float

    def __call__(self, average: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        """The next average; counters are taken over as they are."""
        if not current.is_floating_point():
            return current
        decay = min(self.decay, (1 + int(num_averaged)) / (10 + int(num_averaged)))
        return torch.lerp(average, current, 1.0 - decay)


class BestEpoch(ModelCheckpoint):
    """Remembers the best epoch even if the run folder was moved since; Lightning forgets it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where `state_dict` left off, in the folder as it is called now."""
        path = f"{self.dirpath}/best.ckpt"
        state = {**state_dict, "dirpath": self.dirpath}
        if state["best_model_path"]:
            state["best_model_path"] = state["kth_best_model_path"] = path
            state["best_k_models"] = {path: state["best_model_score"]}
        super().load_state_dict(state)


class EpochLines(pl.Callback):
    """One line an epoch, for logs and for terminals without a bar."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went."""
        figures = _figures(trainer.callback_metrics)
        say(f"{self.stage}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {figures}")


def _figures(metrics: dict[str, Any]) -> str:
    shown: Sequence[str] = [
        f"{name} {float(value):.4f}"
        for name, value in metrics.items()
        if name.startswith("val/") or name == "train/loss"
    ]
    return "  ".join(shown)
