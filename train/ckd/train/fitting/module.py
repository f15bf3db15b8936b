"""One stage of training as a Lightning module: its losses, batches, optimiser and validation.

All networks but the stage's own are frozen: they get no gradient and stay in evaluation mode, and a
digest of their weights and running statistics is compared at the end.
"""

from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from ckd.contract.errors import GateFailed, InputError
from ckd.data.samples import SampleSet
from ckd.scores.images import ImageScore
from ckd.train.evaluation.scoring import PlainImages, score_batch, scored_outputs
from ckd.train.feeding.dataset import EpochBatches, TrainingViews, training_loader
from ckd.train.feeding.mixing import mixed
from ckd.train.fitting.figures import Figures, stage_figures
from ckd.train.fitting.schedules import learning_rate_factor
from ckd.train.fitting.stage_data import class_counts
from ckd.train.networks.pretrained import Pretrained
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.stage import Stage
from ckd.train.systems.graph import System


class StageModule(pl.LightningModule):
    """Trains ``stage.nodes`` of a system.

    Args:
        recipe: whose stage this is.
        stage: to train.
        system: all networks; changed in place.
        train_set: samples with what the stage's target needs.
        val_set: to score after every epoch, or None to train blind. A stage that trains nothing
            that could be scored, such as a self-supervised head, is trained blind in any case.
        num_workers: processes that load images.

    Attributes:
        figures: gives what is logged of the validation images' scores; may be replaced.
    """

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        system: System,
        train_set: SampleSet,
        val_set: SampleSet | None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.stage, self.system = recipe, stage, system
        self.judged = scored_outputs(stage, system.outputs)
        self.train_set = train_set
        self.val_set = val_set if self.judged.names() else None
        self.num_workers = num_workers
        self.seed = recipe.seed_of(stage)
        self.classes = class_counts(train_set)
        self.figures: Figures = partial(
            stage_figures,
            system=system,
            judged=self.judged,
            tasks=recipe.tasks,
            classes=self.classes,
        )
        for name, network in system.networks.items():
            network.requires_grad_(name in stage.nodes)
        self.frozen_digest = system.digest(self._frozen_names())
        self._scores: list[ImageScore] = []

    def train(self, mode: bool = True) -> "StageModule":
        """Training mode for the stage's nodes only; frozen networks stay in evaluation mode."""
        super().train(mode)
        for name in self._frozen_names():
            self.system.networks[name].eval()
        return self

    def check_frozen(self) -> None:
        """Raise `GateFailed` if a network that this stage does not train has changed."""
        if self.system.digest(self._frozen_names()) != self.frozen_digest:
            raise GateFailed(f"stage {self.stage.name}: a frozen network was changed")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the class names with the weights: their order says what the logits mean."""
        checkpoint["labels"] = list(self.system.labels)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise `InputError` if the weights are of other class names, or of these in another order.

        Older checkpoints hold no class names; their run folder's `data.json` does.
        """
        ours = list(self.system.labels)
        if (labels := checkpoint.get("labels", ours)) != ours:
            raise InputError(
                f"stage {self.stage.name}: the checkpoint is of {', '.join(labels)}, expected "
                f"{', '.join(ours)}; train anew with --fresh"
            )

    def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
        """Loss of one batch, scaled so that accumulated gradients are summed."""
        stage = self.stage
        if stage.mixup:
            draws = np.random.default_rng((self.seed, self.current_epoch, number, self.global_rank))
            batch = {**batch, "image": mixed(batch["image"], stage.mixup, draws)}
        tensors = self.system(batch["image"], stage.tensors())
        total = torch.zeros((), device=self.device)
        for term in stage.losses:
            loss = term(tensors, batch, self.classes)
            if not torch.isfinite(loss):
                raise GateFailed(
                    f"stage {stage.name}: the loss {term.name!r} is {loss.item()} in epoch "
                    f"{self.current_epoch + 1}; lower the learning rate, or train with "
                    "--set precision=32-true"
                )
            total = total + term.weight * loss
            if len(stage.losses) > 1:
                self._log_loss(term.name, loss, batch)
        self._log_loss("loss", total, batch)
        return total * stage.accumulate

    def on_train_epoch_start(self) -> None:
        """Set modes, and seed dropout by epoch and process so that a resumed run repeats itself."""
        self.train()  # Lightning does not change the mode
        torch.manual_seed((self.seed * 1_000_003 + self.current_epoch) * 1_009 + self.global_rank)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> dict[str, Tensor]:
        """Score this process's share of the validation images, and give callbacks the tensors."""
        assert self.val_set is not None
        tensors = self.system(batch["image"], self.judged.names())
        samples = [self.val_set.samples[int(i)] for i in batch["index"]]
        self._scores += score_batch(self.system, tensors, samples, self.judged)
        return dict(tensors)

    def on_validation_epoch_end(self) -> None:
        """Gather all processes' scores, so that every process logs the same figures."""
        scores, self._scores = self._scores, []
        if dist.is_available() and dist.is_initialized():
            shares: list[list[ImageScore]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(shares, scores)
            scores = [score for share in shares for score in share]
        for name, value in self.figures(scores).items():
            self.log(
                f"val/{name}", value, prog_bar=name == self.stage.monitor, rank_zero_only=False
            )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """This epoch's batches; Lightning calls this before every epoch."""
        stage = self.stage
        views = TrainingViews(
            self.train_set, stage.augmentation, self.recipe.image_size, self.seed, stage.needs
        )
        batches = EpochBatches(
            len(views), stage.batch_size, self.current_epoch, self.seed,
            self.global_rank, self.trainer.world_size,
        )  # fmt: skip
        return training_loader(views, batches, self.num_workers)

    def val_dataloader(self) -> Any:
        """This process's share of the validation images."""
        if self.val_set is None:
            return []
        mine = range(self.global_rank, len(self.val_set), self.trainer.world_size)
        images = PlainImages(self.val_set, self.system.image_size)
        return DataLoader(images, batch_size=16, sampler=mine)

    def configure_optimizers(self) -> Any:
        """Two parameter groups (encoders, the rest), and the schedule if it goes by steps."""
        stage = self.stage
        trained = [self.system.networks[name] for name in stage.nodes]
        encoder = [
            p for net in trained for part in net.modules() if isinstance(part, Pretrained)
            for p in part.pretrained_parameters()
        ]  # fmt: skip
        known = {id(p) for p in encoder}
        rest = [p for net in trained for p in net.parameters() if id(p) not in known]
        groups = [{"params": encoder, "lr": stage.encoder_lr}, {"params": rest, "lr": stage.lr}]
        optimizer: torch.optim.Optimizer
        if stage.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, weight_decay=stage.weight_decay)
        elif stage.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, weight_decay=stage.weight_decay)
        else:
            optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=stage.weight_decay)
        if stage.schedule.kind in ("constant", "plateau"):
            return optimizer  # a callback takes plateau steps, see `ckd.train.fitting.schedules`
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(stage.schedule, step, total, stage.lr)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _log_loss(self, name: str, loss: Tensor, batch: dict[str, Tensor]) -> None:
        self.log(
            f"train/{name}", loss, on_epoch=True, on_step=False, prog_bar=name == "loss",
            batch_size=len(batch["image"]), sync_dist=True,
        )  # fmt: skip

    def _frozen_names(self) -> set[str]:
        return set(self.system.networks) - set(self.stage.nodes)
