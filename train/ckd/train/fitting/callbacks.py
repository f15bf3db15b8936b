"""Lightning callbacks: averaged weights, the best epoch, and a line of text after each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from ckd.console import say


@dataclass(frozen=True, slots=True)
class ExponentialAverage:
    """Exponential moving average that changes no bit of frozen weights.

    PyTorch's own computes decay * a + (1 - decay) * b, which rounds even where a equals b. The
    decay grows from 0.1, because a short run would keep its initial weights otherwise.
    """

    decay: float

    def __call__(self, average: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        """The next average; integer tensors such as counters are copied."""
        if not current.is_floating_point():
            return current
        decay = min(self.decay, (1 + int(num_averaged)) / (10 + int(num_averaged)))
        return torch.lerp(average, current, 1.0 - decay)


class BestEpoch(ModelCheckpoint):
    """Remembers the best epoch even if the run folder was moved; Lightning's class forgets it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`, in the folder that the run has now."""
        path = f"{self.dirpath}/{self.filename}{self.FILE_EXTENSION}"
        state = {**state_dict, "dirpath": self.dirpath}
        if state["best_model_path"]:
            state["best_model_path"] = state["kth_best_model_path"] = path
            state["best_k_models"] = {path: state["best_model_score"]}
        super().load_state_dict(state)


class EpochLines(pl.Callback):
    """Prints one line after each epoch, for logs and for terminals without a bar."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's figures."""
        figures = _figures(trainer.callback_metrics)
        say(f"{self.stage}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {figures}")


def _figures(metrics: dict[str, Any]) -> str:
    shown: Sequence[str] = [
        f"{name} {float(value):.4f}"
        for name, value in metrics.items()
        if name.startswith("val/") or name == "train/loss"
    ]
    return "  ".join(shown)
