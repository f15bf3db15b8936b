"""SSD-KD's recipes beside the numbers of the authors' code, and that training goes by them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ckd.contract.labels import ISIC2017
from ckd.data.layouts import read_split
from ckd.scores.images import ImageScore, label_loss
from ckd.train.fitting.callbacks import BestEpoch
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.schedules import Plateau, learning_rate_factor
from ckd.train.losses import Contrast, Relation, SoftLabels
from ckd.train.recipes.catalogue import RECIPES
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.ssdkd import ssdkd
from ckd.train.recipes.text import with_overrides

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns

RELATIONS = {"distances": 25.0, "angles": 50.0}


@pytest.mark.parametrize(
    ("method", "weights", "temperature"),
    [
        (
            "ssdkd",
            {
                "label": 0.1, "soft_labels": 0.9, "turned_soft_labels": 2.7, "contrast": 10.0,
                **RELATIONS, "gram": 1000.0,
            },
            4.0,
        ),
        # Their KL of T = 5 counts 25 times; T^2 is a part of the loss here.
        ("ssdkd-dkd", {"label": 0.5, "soft_labels": 0.5, **RELATIONS, "gram": 1000.0}, 5.0),
        ("ssdkd-kd", {"label": 0.5, "soft_labels": 0.5}, 5.0),
        ("ssdkd-fitnet", {"label": 0.01, "hint": 1.0}, None),
        ("ssdkd-rkd", {"label": 3.0, **RELATIONS}, None),
        ("ssdkd-alone", {"label": 1.0}, None),
    ],
)  # fmt: skip
def test_weights_and_temperatures_are_those_published(
    method: str, weights: dict[str, float], temperature: float | None
) -> None:
    losses = RECIPES[method]().stage("student").losses
    assert {loss.name: loss.weight for loss in losses} == weights
    soft = [loss for loss in losses if isinstance(loss, SoftLabels)]
    assert {loss.temperature for loss in soft} == ({temperature} - {None})
    seen = {loss.name: loss.views for loss in soft}
    if method == "ssdkd":
        assert seen == {"soft_labels": "upright", "turned_soft_labels": "turned"}
        (contrast,) = (loss for loss in losses if isinstance(loss, Contrast))
        assert (contrast.temperature, contrast.share_of_wrong) == (0.5, 0.75)
    compared = {x.name: (x.of, x.student, x.teacher) for x in losses if isinstance(x, Relation)}
    for name, tensors in compared.items():
        # Gram matrices need equal channels, which the connector makes.
        student = "hint" if name == "gram" else "student_map"
        assert tensors == (name, student, "teacher_map")


@pytest.mark.parametrize("method", [name for name in RECIPES if name.startswith("ssdkd")])
def test_phases_are_those_published(method: str) -> None:
    recipe = RECIPES[method]()
    assert (recipe.seed, recipe.image_size, recipe.split_by) == (2021, 224, "lesion")
    for stage in recipe.trained:
        assert (stage.optimizer, stage.lr, stage.encoder_lr) == ("sgd", 1e-3, 1e-3) or (
            stage.name == "teacher_head"  # which has no encoder
            and (stage.optimizer, stage.lr) == ("sgd", 1e-3)
        )
        assert (stage.weight_decay, stage.clip_norm, stage.accumulate) == (1e-3, None, 1)
        turned = stage.augmentation.turned_views
        assert turned == (stage.name != "teacher" and method == "ssdkd")
        assert stage.batch_size == (32 if turned else 128)
        if stage.name == "teacher_head":
            assert (stage.epochs, stage.select) == (60, "last")
            continue
        assert (stage.epochs, stage.stop_after, stage.select) == (150, 15, "best")
        assert stage.monitor == "label_loss"
        schedule = stage.schedule
        assert (schedule.kind, schedule.factor, schedule.floor) == ("plateau", 0.1, 1e-6)


def test_the_heads_rate_falls_after_30_and_45_of_its_60_epochs() -> None:
    stage, steps = ssdkd().stage("teacher_head"), 7  # of an epoch

    def rate(epoch: int) -> float:
        step = epoch * steps
        return stage.lr * learning_rate_factor(stage.schedule, step, 60 * steps, stage.lr)

    rates = [rate(epoch) for epoch in (0, 29, 30, 44, 45, 59)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


# What training makes of them -----------------------------------------------------------------

SMALL = with_overrides(
    ssdkd(), ["system.teacher=resnet18", "system.student=mnasnet0_5", "image_size=64"]
)


class Seen(BaseException):
    """Ends the training before its first epoch."""


class Look(pl.Callback):
    """Notes the trainer's callbacks."""

    def __init__(self) -> None:
        self.callbacks: list[pl.Callback] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.callbacks = [c for c in vars(trainer)["callbacks"] if isinstance(c, pl.Callback)]
        raise Seen


def test_a_lower_loss_is_what_keeps_stops_and_slows(runs: "TrainingRuns", tmp_path: Path) -> None:
    look = Look()
    with pytest.raises(Seen):
        runs.fit(tmp_path / "run", SMALL, callbacks=[look])
    (stop,) = (c for c in look.callbacks if isinstance(c, EarlyStopping))
    (best,) = (c for c in look.callbacks if isinstance(c, BestEpoch))
    (plateau,) = (c for c in look.callbacks if isinstance(c, Plateau))
    assert stop.monitor == best.monitor == plateau.monitor == "val/label_loss"
    assert (stop.mode, best.mode, stop.patience) == ("min", "min", 15)


def test_the_optimiser_is_sgd_with_momentum(runs: "TrainingRuns") -> None:
    torch.manual_seed(0)
    system = SMALL.system.build(ISIC2017, (), 64, None)
    module = StageModule(
        SMALL, SMALL.stage("student"), system, read_split(runs.data, "train"), None
    )
    optimizer = module.configure_optimizers()
    assert type(optimizer) is torch.optim.SGD
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-3, 0.9, 1e-3)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    networks = [system.networks[name] for name in ("student", "connector", "student_head")]
    assert trained == {id(p) for network in networks for p in network.parameters()}


def test_the_watched_loss_is_the_weighted_cross_entropy_of_all_images() -> None:
    rng = np.random.default_rng(0)
    probabilities_NK = rng.dirichlet(np.ones(3), 7)
    labels_N, weights_K = rng.integers(0, 3, 7), (5.0, 0.2, 1.5)
    scores = [
        ImageScore(str(n), probabilities=tuple(p_K), label=int(label))
        for n, (p_K, label) in enumerate(zip(probabilities_NK, labels_N, strict=True))
    ]
    loss = nn.CrossEntropyLoss(torch.tensor(weights_K, dtype=torch.float64))
    expected = loss(torch.tensor(np.log(probabilities_NK)), torch.tensor(labels_N)).item()
    assert label_loss([*scores, ImageScore("unknown")], weights_K) == pytest.approx(expected)
    certain = [ImageScore("a", probabilities=(0.0, 1.0, 0.0), label=0)]
    assert math.isfinite(label_loss(certain, weights_K))


def test_turned_views_are_quarter_turns_of_the_image_side_by_side(tmp_path: Path) -> None:
    """Image by image: upright, then turned by 90, 180 and 270 degrees."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    for name, picture in zip("ab", pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    (tmp_path / "labels.csv").write_text("image,label,split\na,x,train\nb,y,train\n")
    still = with_overrides(
        SMALL,
        [
            f"stages.student.augmentation.{setting}"
            for setting in ("flip=false", "rotate_deg=0", "scale=[1,1]", "colour=none")
        ],
    )
    batch = _one_batch(still, tmp_path)
    assert batch["turn"].tolist() == [0, 1, 2, 3] * 2
    first, second = batch["index"][0::4].tolist()
    assert batch["index"].tolist() == [first] * 4 + [second] * 4
    expected = [np.rot90(pictures[n], turn) for n in (first, second) for turn in range(4)]
    np.testing.assert_array_equal(batch["image"].numpy(), np.stack(expected))
    # Each is augmented on its own: turned back they are four different views.
    batch = _one_batch(SMALL, tmp_path)
    back = [np.rot90(view, -turn) for turn, view in enumerate(batch["image"][:4].numpy())]
    assert len({view.tobytes() for view in back}) == 4


def _one_batch(recipe: Recipe, data: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    train_set, stage = read_split(data, "train"), recipe.stage("student")
    system = recipe.system.build(train_set.labels, (), 64, None)
    module = StageModule(recipe, stage, system, train_set, None)
    module.trainer = _OneProcess()  # type: ignore[assignment]
    batch: dict[str, torch.Tensor]
    (batch,) = module.train_dataloader()
    return batch


class _OneProcess:
    world_size = 1
    current_epoch = 0
    global_rank = 0


@pytest.mark.parametrize("by", ["each", "best"])
def test_the_rate_falls_when_the_authors_does(by: str) -> None:
    """The teacher's by each epoch's loss, the student's by the best so far: it is the same."""

    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)

    mine, theirs = optimizer(), optimizer()
    scheduler = ReduceLROnPlateau(theirs, factor=0.1, patience=10, min_lr=1e-6)
    plateau = Plateau(ssdkd().stage("student").schedule, "val/label_loss", ["student"])
    losses = [1.0, 0.8, *10 * [0.9], 0.7, *13 * [0.75], 0.6, *12 * [0.6], *30 * [0.65]]
    rates = []
    for epoch, loss in enumerate(losses):
        trainer: Any = _OneProcess()
        trainer.sanity_checking, trainer.optimizers = False, [mine]
        trainer.callback_metrics = {"val/label_loss": torch.tensor(loss)}
        plateau.on_validation_end(trainer, nn.Module())  # type: ignore[arg-type]
        scheduler.step(min(losses[: epoch + 1]) if by == "best" else loss)
        rates.append(mine.param_groups[0]["lr"])
        assert rates[-1] == pytest.approx(theirs.param_groups[0]["lr"])
    assert (rates[0], rates[-1]) == (1e-3, 1e-6)  # down to the floor
