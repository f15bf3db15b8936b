"""Learning rates over time: by optimiser step, or by lack of progress (plateau)."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from torch.optim import Optimizer

from ckd.train.recipes.stage import LOWER_IS_BETTER, Schedule


def learning_rate_factor(schedule: Schedule, step: int, total: int, lr: float) -> float:
    """Factor on the learning rate ``lr`` at ``step`` of ``total``, for kinds that go by steps."""
    if schedule.kind == "poly":
        return float(max(1.0 - step / max(1, total), 0.0) ** schedule.exponent)
    if schedule.kind == "step":
        return schedule.factor ** int(sum(step >= share * total for share in schedule.milestones))
    warmup = max(1, int(schedule.warmup * total))
    if step < warmup:
        return (step + 1) / warmup
    done = min((step - warmup) / max(1, total - warmup), 1.0)
    floor = schedule.floor / lr
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done))


class Plateau(pl.Callback):
    """Lowers the learning rate when validation stops improving, as CKDNet's two later stages do.

    In CKDNet's classifier an improvement does not reset the counter of bad epochs (``cumulative``);
    its fine segmentation goes back to the best weights, with the optimiser as it was at the first
    bad epoch (``reload_best``). `torch.optim.lr_scheduler.ReduceLROnPlateau` can do neither.
    """

    def __init__(self, schedule: Schedule, monitor: str, nodes: Sequence[str]) -> None:
        self.schedule, self.monitor = schedule, monitor
        self.prefixes = tuple(f"system.networks.{name}." for name in nodes)
        self.best = -math.inf
        self.num_bad = 0
        self.best_weights: dict[str, Any] | None = None
        self.optimizer_before: dict[str, Any] | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count this epoch as good or bad, and lower the rate after too many bad ones."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        score = float(trainer.callback_metrics[self.monitor])
        if self.monitor.removeprefix("val/") in LOWER_IS_BETTER:
            score = -score
        optimizer = trainer.optimizers[0]
        if score > self.best:
            self.best = score
            self.num_bad = self.num_bad if self.schedule.cumulative else 0
            if self.schedule.reload_best:
                self.best_weights = self._trained_state(pl_module)
                self.optimizer_before = None
            return
        self.num_bad += 1
        if self.schedule.reload_best and self.optimizer_before is None:
            self.optimizer_before = copy.deepcopy(optimizer.state_dict())
        if self.num_bad >= self.schedule.patience:
            self._step(pl_module, optimizer)

    def state_dict(self) -> dict[str, Any]:
        """State from which a resumed run goes on as if never interrupted."""
        keys = ("best", "num_bad", "best_weights", "optimizer_before")
        return {key: getattr(self, key) for key in keys}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for key, value in state_dict.items():
            setattr(self, key, value)

    def _trained_state(self, pl_module: pl.LightningModule) -> dict[str, Any]:
        """State of the trained networks only: the frozen ones are large and do not change."""
        state = pl_module.state_dict()
        return {k: v.clone() for k, v in state.items() if k.startswith(self.prefixes)}

    def _step(self, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        rates = [
            max(group["lr"] * self.schedule.factor, self.schedule.floor)
            for group in optimizer.param_groups
        ]
        if self.best_weights is not None:
            pl_module.load_state_dict(self.best_weights, strict=False)
        if self.optimizer_before is not None:
            optimizer.load_state_dict(self.optimizer_before)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.num_bad, self.optimizer_before = 0, None
