"""One stage of training as a Lightning module: what is trained, on what loss, judged by what.

Everything upstream of the stage's nodes is frozen: no gradient, evaluation mode, and a digest of
its weights and running statistics is compared at the end.
"""

from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from ckd.contract.errors import GateFailed
from ckd.train.config import Recipe, Stage
from ckd.train.data.dataset import EpochBatches, TrainingViews, training_loader
from ckd.train.data.samples import SampleSet
from ckd.train.losses import class_weights, dice_focal, weighted_cross_entropy
from ckd.train.networks.encoder import Encoder
from ckd.train.schedules import learning_rate_factor
from ckd.train.scoring import ImageScore, PlainImages, label_scores, mask_scores, score_batch
from ckd.train.systems.graph import System


class StageModule(pl.LightningModule):
    """Trains ``stage.nodes`` of a system.

    Args:
        recipe: whose stage this is.
        stage: to train.
        system: all networks; changed in place.
        train_set: samples with what the stage's target needs.
        val_set: to score after every epoch, or None to train blind.
        num_workers: processes that load images.
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
        self.train_set, self.val_set = train_set, val_set
        self.num_workers = num_workers
        self.class_weights = class_weights(train_set.class_counts())
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

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Loss of one batch, scaled so that accumulated gradients are summed."""
        stage = self.stage
        logits = self.system(batch["image"], (stage.output,))[stage.output]
        if stage.target == "mask":
            mask = batch["mask"]
            if logits.shape != mask.shape:  # the coarse logits leave RootSeg at stride 4
                logits = F.interpolate(
                    logits.float(), mask.shape[2:], mode="bilinear", align_corners=True
                )
            loss = dice_focal(logits, mask, stage.form, stage.focal_weight)
        else:
            loss = weighted_cross_entropy(
                logits, batch["label"], self.class_weights, stage.form, stage.label_smoothing
            )
        if not torch.isfinite(loss):
            raise GateFailed(
                f"stage {stage.name}: the loss is {loss.item()} in epoch {self.current_epoch + 1}; "
                "lower the learning rate, or train with --set precision=32-true"
            )
        self.log(
            "train/loss", loss, on_epoch=True, on_step=False, prog_bar=True,
            batch_size=len(logits), sync_dist=True,
        )  # fmt: skip
        return loss * stage.accumulate

    def on_train_epoch_start(self) -> None:
        """Set modes, and seed dropout by epoch and process so that a resumed run repeats itself."""
        self.train()  # Lightning keeps whatever mode it finds
        torch.manual_seed(
            (self.recipe.seed * 1_000_003 + self.current_epoch) * 1_009 + self.global_rank
        )

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Score this process's share of the validation images."""
        assert self.val_set is not None
        tensors = self.system(batch["image"], (self.stage.output,))
        samples = [self.val_set.samples[int(i)] for i in batch["index"]]
        self._scores += score_batch(self.system, tensors, samples)

    def on_validation_epoch_end(self) -> None:
        """Gather all processes' scores, so that every process logs the same figures."""
        scores, self._scores = self._scores, []
        if dist.is_available() and dist.is_initialized():
            shares: list[list[ImageScore]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(shares, scores)
            scores = [score for share in shares for score in share]
        for name, value in self._figures(scores).items():
            self.log(
                f"val/{name}", value, prog_bar=name == self.stage.monitor, rank_zero_only=False
            )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """This epoch's batches; Lightning asks anew every epoch."""
        stage = self.stage
        views = TrainingViews(
            self.train_set, stage.augmentation, self.recipe.image_size, self.recipe.seed,
            stage.target,
        )  # fmt: skip
        batches = EpochBatches(
            len(views), stage.batch_size, self.current_epoch, self.recipe.seed,
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
        """Adam with two groups (encoders, the rest), and the schedule where it goes by steps."""
        stage = self.stage
        trained = [self.system.networks[name] for name in stage.nodes]
        encoder = [
            p for net in trained if isinstance(e := getattr(net, "encoder", None), Encoder)
            for p in e.pretrained_parameters()
        ]  # fmt: skip
        known = {id(p) for p in encoder}
        rest = [p for net in trained for p in net.parameters() if id(p) not in known]
        optimizer = torch.optim.Adam(
            [{"params": encoder, "lr": stage.encoder_lr}, {"params": rest, "lr": stage.lr}],
            weight_decay=stage.weight_decay,
        )
        if stage.schedule.kind != "cosine":
            return optimizer  # plateau steps are taken by a callback, see `ckd.train.schedules`
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(stage.schedule, step, total, stage.lr)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _figures(self, scores: list[ImageScore]) -> dict[str, float]:
        which = "coarse" if self.stage.output == self.system.results.coarse_logits else "fine"
        masks = mask_scores(scores, which)
        if self.stage.target == "mask" and masks is not None:
            return {
                "jaccard": masks.jaccard,
                "dice": masks.dice,
                "pixel_accuracy": masks.accuracy,
            }
        labels = label_scores(scores, self.system.labels, self.recipe.tasks)
        if labels is None:
            return {}
        return {
            "mean_auc": labels.mean_auc,
            "accuracy": labels.accuracy,
            "balanced_accuracy": labels.balanced_accuracy,
        }

    def _frozen_names(self) -> set[str]:
        return set(self.system.networks) - set(self.stage.nodes)
