"""Recipes as data: what they hold, how settings are changed, and the schedules they name."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.fitting.schedules import Plateau, learning_rate_factor
from ckd.train.losses import LabelLoss, MaskLoss
from ckd.train.recipes.catalogue import RECIPES, find_recipe
from ckd.train.recipes.ckdnet import ckdnet_r101, ckdnet_tiny
from ckd.train.recipes.recipe import Recipe, Schedule, Stage
from ckd.train.recipes.text import load_recipe, with_overrides
from ckd.train.systems.ckdnet import CkdNet

# Recipes -------------------------------------------------------------------------------------


def test_the_published_recipe_is_one_of_three_resnet101_at_224() -> None:
    recipe = ckdnet_r101()
    assert recipe.system == CkdNet()
    assert recipe.system.backbone == "resnet101"
    assert recipe.image_size == 224
    assert recipe.seed == 6666
    assert recipe.tasks == ("MEL", "SBK")
    assert recipe.precision == "32-true"
    assert [stage.name for stage in recipe.stages] == ["rootseg", "cls", "seg"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "rootseg",
            {
                "epochs": 30, "batch_size": 8,
                "accumulate": 1, "lr": 1e-4, "encoder_lr": 1e-4, "select": "last",
            },
        ),
        (
            "cls",
            {
                "epochs": 100, "batch_size": 8,
                "accumulate": 4, "lr": 1e-4, "encoder_lr": 1e-5, "clip_norm": 10.0,
                "select": "best", "monitor": "accuracy",
            },
        ),
        (
            "seg",
            {
                "epochs": 100, "batch_size": 16,
                "accumulate": 2, "lr": 1e-4, "encoder_lr": 1e-4, "clip_norm": 10.0,
                "select": "best", "monitor": "pixel_accuracy",
            },
        ),
    ],
)  # fmt: skip
def test_stages_are_trained_as_the_authors_did(name: str, expected: dict[str, object]) -> None:
    stage = ckdnet_r101().stage(name)
    assert {key: getattr(stage, key) for key in expected} == expected
    assert stage.weight_decay == 1e-4
    (loss,) = stage.losses
    output = {"rootseg": "coarse_logits", "cls": "logits", "seg": "mask_logits"}[name]
    assert loss == (LabelLoss if name == "cls" else MaskLoss)(output=output)
    assert stage.ema_decay is None


def test_only_the_two_later_stages_clip_gradients() -> None:
    # To Lightning a norm of 0 means none, as None does.
    assert [bool(stage.clip_norm) for stage in ckdnet_r101().stages] == [False, True, True]


def test_learning_rates_fall_as_the_authors_did() -> None:
    constant, cumulative, reloading = (stage.schedule for stage in ckdnet_r101().stages)
    assert constant.kind == "constant"
    expected = Schedule(kind="plateau", factor=0.5, patience=20, cumulative=True, floor=1e-8)
    assert cumulative == expected
    expected = Schedule(kind="plateau", factor=0.1, patience=20, reload_best=True, floor=1e-8)
    assert reloading == expected


def test_segmentation_augments_as_the_authors_did() -> None:
    expected = Augmentation(
        flip=True,
        rotate_deg=180.0,
        shear_deg=10.0,
        scale=(0.7, 1.3),
        shift=(0.01, 0.10),
        colour="one_of_seven",
        crop_scales=(),
        mask_rule="half",
    )
    assert ckdnet_r101().stage("rootseg").augmentation == expected
    assert ckdnet_r101().stage("seg").augmentation == expected


def test_classification_augments_as_the_authors_did() -> None:
    expected = Augmentation(
        flip=True,
        rotate_deg=90.0,
        shear_deg=0.0,
        scale=(0.9, 1.1),
        shift=(0.01, 0.10),
        colour="none",
        crop_scales=(0.25, 0.5, 0.75),
        crop_margin_px=500,
        official_crop_axes=False,
    )
    assert ckdnet_r101().stage("cls").augmentation == expected


@pytest.mark.parametrize("name", RECIPES)
def test_every_stage_trains_the_nodes_that_make_its_output(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    with FakeTensorMode():
        system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
    trained: list[str] = []
    for stage in recipe.stages:
        trained += stage.nodes
        # All that the output needs is trained by now, and its own node in this very stage.
        needed = [node.name for node in system.needed(stage.tensors())]
        assert set(needed) <= set(trained)
        assert needed[-1] in stage.nodes
    assert sorted(trained) == sorted(system.networks)


def test_the_tiny_recipe_is_small() -> None:
    recipe = ckdnet_tiny()
    assert recipe.image_size == 64
    assert all(stage.epochs <= 2 for stage in recipe.stages)


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("ckdnet-r50", str(tmp_path / "absent.json")):
        with pytest.raises(UsageError, match=r"ckdnet-r101, ckdnet-mobile, ckdnet-tiny"):
            find_recipe(name)


def test_an_unknown_stage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no stage 'clz'.*all, rootseg, cls, seg"):
        ckdnet_tiny().stage("clz")


# Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_saved_recipe_reads_back_equal(name: str, tmp_path: Path) -> None:
    recipe = find_recipe(name)
    recipe.save(tmp_path / "mine.json")
    assert load_recipe(tmp_path / "mine.json") == recipe
    assert find_recipe(str(tmp_path / "mine.json")) == recipe


def test_a_changed_recipe_reads_back_changed(tmp_path: Path) -> None:
    changed = with_overrides(
        ckdnet_tiny(),
        ["stages.cls.schedule.warmup=0.125", "system.entangle_widths=null", "tasks=[]"],
    )
    changed.save(tmp_path / "mine.json")
    loaded = load_recipe(tmp_path / "mine.json")
    assert loaded == changed
    assert loaded != ckdnet_tiny()


def test_a_file_that_lacks_a_setting_is_refused(tmp_path: Path) -> None:
    tree = dataclasses.asdict(ckdnet_tiny())
    del tree["image_size"]
    (tmp_path / "mine.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=r"mine\.json: image_size: Field required"):
        load_recipe(tmp_path / "mine.json")


@pytest.mark.parametrize(
    ("branch", "key"),
    [
        (lambda tree: tree, "seeed"),
        (lambda tree: tree["system"], "backbon"),
        (lambda tree: tree["stages"][1], "label_smothing"),
        (lambda tree: tree["stages"][1]["schedule"], "factr"),
        (lambda tree: tree["stages"][1]["augmentation"], "flp"),
    ],
)
def test_a_misspelt_setting_in_a_file_is_refused(
    branch: Callable[[Any], dict[str, Any]], key: str, tmp_path: Path
) -> None:
    tree = dataclasses.asdict(ckdnet_tiny())
    branch(tree)[key] = 1
    (tmp_path / "mine.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=key):
        load_recipe(tmp_path / "mine.json")


def test_a_stage_without_a_name_is_counted(tmp_path: Path) -> None:
    tree = dataclasses.asdict(ckdnet_tiny())
    del tree["stages"][1]["name"]
    (tmp_path / "mine.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=r"mine\.json: stages\.1\.name: Field required"):
        load_recipe(tmp_path / "mine.json")


@pytest.mark.parametrize("text", ["", '{"name": ', "not JSON"])
def test_a_file_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.json"):
        load_recipe(tmp_path / "mine.json")


# Overrides -----------------------------------------------------------------------------------


def changed_stage(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    stages = [dataclasses.replace(s, **changes) if s.name == name else s for s in recipe.stages]
    return dataclasses.replace(recipe, stages=tuple(stages))


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    tiny = ckdnet_tiny()
    assert isinstance(tiny.system, CkdNet)
    assert with_overrides(tiny, []) == tiny
    assert with_overrides(tiny, ["seed=7"]) == dataclasses.replace(tiny, seed=7)
    shape = tiny.system
    assert isinstance(shape, CkdNet)
    expected = dataclasses.replace(
        tiny, system=dataclasses.replace(shape, backbone="resnet18", energy_sign=1)
    )
    got = with_overrides(tiny, ["system.backbone=resnet18", "system.energy_sign=1"])
    assert got == expected


def test_losses_are_addressed_by_name() -> None:
    changed = with_overrides(ckdnet_tiny(), ["stages.cls.losses.label.label_smoothing=0.2"])
    (loss,) = changed.stage("cls").losses
    assert isinstance(loss, LabelLoss)
    assert loss.label_smoothing == 0.2
    with pytest.raises(UsageError, match="unknown setting 'lable'; did you mean 'label'"):
        with_overrides(ckdnet_tiny(), ["stages.cls.losses.lable.weight=2"])


def test_stages_are_addressed_by_name() -> None:
    tiny = ckdnet_tiny()
    assert with_overrides(tiny, ["stages.cls.epochs=40"]) == changed_stage(tiny, "cls", epochs=40)
    schedule = dataclasses.replace(tiny.stage("seg").schedule, warmup=0.1, floor=0.0)
    got = with_overrides(tiny, ["stages.seg.schedule.warmup=0.1", "stages.seg.schedule.floor=0.0"])
    assert got == changed_stage(tiny, "seg", schedule=schedule)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.cls.epochs=-1", r"stages\.cls\.epochs.*-1"),
        ("stages.cls.batch_size=0", r"stages\.cls\.batch_size"),
        ("stages.seg.schedule.factor=2", r"stages\.seg\.schedule\.factor.*2"),
        ("image_size=100", "multiple of 32"),
        ("stages.seg.schedule.kind=plateau", "stage seg: a plateau schedule goes by validation"),
    ],
)
def test_settings_that_cannot_work_are_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_overrides(ckdnet_tiny(), [override])


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("stages.cls.ema_decay=null", "ema_decay", None),
        ("stages.cls.ema_decay=0.5", "ema_decay", 0.5),
        ("stages.cls.lr=1e-3", "lr", 1e-3),
        ("stages.cls.optimizer=sgd", "optimizer", "sgd"),
        ('stages.cls.optimizer="sgd"', "optimizer", "sgd"),
        ('stages.cls.nodes=["rootseg","cls"]', "nodes", ("rootseg", "cls")),
    ],
)
def test_values_are_json_or_plain_words(override: str, key: str, expected: object) -> None:
    assert getattr(with_overrides(ckdnet_tiny(), [override]).stage("cls"), key) == expected


def test_the_last_of_two_overrides_holds() -> None:
    assert with_overrides(ckdnet_tiny(), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.cls.epoch=4", r"unknown setting 'epoch'; did you mean 'epochs'\?"),
        ("stages.clss.epochs=4", r"unknown setting 'clss'; did you mean 'cls'\?"),
        ("stages.cl.epochs=4", r"unknown setting 'cl'; did you mean 'cls'\?"),
        ("sytem.backbone=resnet18", r"unknown setting 'sytem'; did you mean 'system'\?"),
        ("system.backbon=resnet18", r"unknown setting 'backbon'; did you mean 'backbone'\?"),
        ("stages.1.epochs=4", r"unknown setting '1'; expected one of rootseg, cls, seg"),
        ("zzz=4", r"unknown setting 'zzz'; expected one of name, system, image_size"),
        ("stages.cls.augmentation.zzz=4", r"'zzz'; expected one of flip, rotate_deg"),
        ("stages.cls=4", r"unknown setting 'cls'"),
        ("seed.x=4", r"unknown setting 'seed'"),
        ("seed", r"--set seed: expected NAME=VALUE"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_overrides(ckdnet_tiny(), [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=soon", r"seed: .*valid integer.*'soon'"),
        ("stages.cls.epochs=1.5", r"epochs: .*integer.*1\.5"),
        ("stages.cls.epochs=null", r"epochs: .*integer.*None"),
        ("system.backbone=resnet19", r"system\.backbone: .*'resnet101'.*'resnet19'"),
        ("stages.seg.schedule.kind=polynomial", r"schedule\.kind: .*'cosine'.*'polynomial'"),
        ("stages.cls.augmentation.scale=[0.9]", r"augmentation\.scale"),
        ("system.entangle_widths=[1,2,3]", r"system\.entangle_widths"),
        ("stages.cls.augmentation=none", r"augmentation: .*'none'"),
        ("system.decoder_widths.0=3", r"unknown setting 'decoder_widths'"),
        ("system.rootseg_dropout=1.5", r"rootseg_dropout: .*less than 1"),
        ("system.rootseg_width=0", r"rootseg_width: .*greater than 0"),
        ("system.decoder_widths=[8,8,8,8,-1]", r"decoder_widths.*greater than 0"),
        ("stages.cls.name=seg", r"two stages are named seg"),
        (
            'stages.cls.schedule={"kind":"cosine","reload_best":true}',
            r"reload_best goes back to weights that were never averaged",
        ),
        ("seed=-1", r"seed: .*-1"),
        ("stages.cls.lr=0", r"lr: .*greater than 0"),
        ("stages.cls.lr=NaN", r"lr: .*finite"),
        ("stages.cls.ema_decay=1", r"ema_decay: .*less than 1"),
        ("stages.cls.augmentation.scale=[0,1]", r"scale.*greater than 0"),
        (
            "stages.cls.monitor=jaccard",
            r"does not score what is trained; expected mean_auc",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_overrides(ckdnet_tiny(), [override])


# Cosine --------------------------------------------------------------------------------------


def test_the_cosine_schedule_warms_up_linearly_and_ends_at_its_floor() -> None:
    schedule = Schedule(kind="cosine", warmup=0.05, floor=1e-6)

    def factor(step: int) -> float:
        return learning_rate_factor(schedule, step, total=105, lr=1e-3)

    assert [factor(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert factor(5 + 50) == pytest.approx((1 + 1e-3) / 2)
    third = 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi / 4))
    assert factor(5 + 25) == pytest.approx(third)
    assert factor(105) == pytest.approx(1e-3)  # floor over learning rate
    assert factor(1000) == pytest.approx(1e-3)
    later = [factor(step) for step in range(5, 106)]
    assert later == sorted(later, reverse=True)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_cosine_schedule_stands_the_shortest_runs(total: int) -> None:
    factors = [learning_rate_factor(Schedule(kind="cosine"), s, total, 1e-3) for s in range(total)]
    assert factors[0] == 1.0
    assert all(0 < factor <= 1 for factor in factors)


# Plateau -------------------------------------------------------------------------------------


class Course:
    """A network and its optimiser, driven through validation scores epoch by epoch."""

    def __init__(self, schedule: Schedule, lrs: Sequence[float] = (1.0,)) -> None:
        self.network = nn.ParameterList([torch.zeros(1) for _ in lrs])
        self.module = nn.Module()
        self.module.system = nn.Module()
        self.module.system.networks = nn.ModuleDict(
            {"learns": self.network, "frozen": nn.ParameterList([torch.zeros(1)])}
        )
        self.optimizer = torch.optim.Adam(
            [{"params": [p], "lr": lr} for p, lr in zip(self.network, lrs, strict=True)]
        )
        self.plateau = Plateau(schedule, "val/score", ["learns"])
        self.epoch = 0

    def run(self, *scores: float) -> list[float]:
        """Learning rate of the first group after each epoch; weights are the epoch's number."""
        rates = []
        for score in scores:
            self.epoch += 1
            for parameter in self.network:
                parameter.grad = torch.ones(1)
            self.optimizer.step()
            for parameter in self.network:
                nn.init.constant_(parameter, self.epoch)
            self.validate({"val/score": torch.tensor(score)})
            rates.append(self.optimizer.param_groups[0]["lr"])
        return rates

    def validate(self, metrics: dict[str, torch.Tensor], sanity_checking: bool = False) -> None:
        trainer: Any = SimpleNamespace(
            sanity_checking=sanity_checking,
            callback_metrics=metrics,
            optimizers=[self.optimizer],
        )
        module: Any = self.module
        self.plateau.on_validation_end(trainer, module)

    def num_steps(self) -> float:
        return float(self.optimizer.state[self.network[0]]["step"])


UPS_AND_DOWNS = (0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.6, 0.8)


def test_the_rate_falls_after_consecutive_bad_epochs() -> None:
    schedule = Schedule(factor=0.1, patience=2)
    expected = [1, 1, 1, 1, 1, 1, 0.1, 0.1]
    assert Course(schedule).run(*UPS_AND_DOWNS) == pytest.approx(expected)


def test_a_cumulative_count_forgets_no_bad_epoch() -> None:
    schedule = Schedule(factor=0.1, patience=2, cumulative=True)
    expected = [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert Course(schedule).run(*UPS_AND_DOWNS) == pytest.approx(expected)


def test_the_count_starts_anew_after_each_step() -> None:
    rates = Course(Schedule(factor=0.1, patience=2)).run(0.5, 0.1, 0.1, 0.1, 0.1, 0.1)
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_an_equal_score_is_no_improvement() -> None:
    assert Course(Schedule(factor=0.1, patience=2)).run(0.5, 0.5, 0.5)[-1] == pytest.approx(0.1)


def test_a_score_that_is_not_a_number_is_no_improvement() -> None:
    course = Course(Schedule(factor=0.1, patience=2))
    assert course.run(0.5, math.nan, math.nan)[-1] == pytest.approx(0.1)
    assert course.plateau.best == 0.5


def test_every_group_falls_by_the_factor_and_not_below_the_floor() -> None:
    course = Course(Schedule(factor=0.1, patience=1, floor=1e-3), lrs=(1.0, 5e-3))
    course.run(0.5, 0.4)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([0.1, 1e-3])
    course.run(0.4, 0.4, 0.4)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize("reload_best", [False, True])
def test_a_step_goes_back_to_the_best_weights_and_the_optimiser_of_the_first_bad_epoch(
    reload_best: bool,
) -> None:
    schedule = Schedule(factor=0.1, patience=3, reload_best=reload_best)
    course = Course(schedule, lrs=(1.0, 0.5))
    course.run(0.5, 0.8, 0.7, 0.6)
    assert [p.item() for p in course.network] == [4, 4]  # not before its time
    course.run(0.6)
    assert [p.item() for p in course.network] == ([2, 2] if reload_best else [5, 5])
    assert course.num_steps() == (3 if reload_best else 5)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([0.1, 0.05])

    # The next three bad epochs go back again, with the optimiser as it was at their first.
    course.run(0.6, 0.6, 0.6)
    assert [p.item() for p in course.network] == ([2, 2] if reload_best else [8, 8])
    assert course.num_steps() == (4 if reload_best else 8)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([0.01, 0.005])


def test_an_improvement_forgets_the_optimiser_of_earlier_bad_epochs() -> None:
    course = Course(Schedule(factor=0.1, patience=2, reload_best=True))
    course.run(0.5, 0.4, 0.6, 0.5, 0.5)
    assert course.network[0].item() == 3
    assert course.num_steps() == 4  # of epoch 4, not of epoch 2


def test_sanity_checks_and_epochs_without_a_score_do_not_count() -> None:
    course = Course(Schedule(factor=0.1, patience=1))
    course.run(0.5)
    course.validate({"val/score": torch.tensor(0.1)}, sanity_checking=True)
    course.validate({"val/other": torch.tensor(0.1)})
    assert course.optimizer.param_groups[0]["lr"] == 1.0
    assert course.run(0.4) == pytest.approx([0.1])


@pytest.mark.parametrize("cut", range(len(UPS_AND_DOWNS)))
def test_a_schedule_taken_up_again_goes_on_as_if_never_interrupted(cut: int) -> None:
    schedule = Schedule(factor=0.1, patience=2, cumulative=True, reload_best=True)
    through, first = Course(schedule), Course(schedule)
    expected = through.run(*UPS_AND_DOWNS)
    rates = first.run(*UPS_AND_DOWNS[:cut])

    second = Course(schedule)
    second.epoch = first.epoch
    second.network.load_state_dict(copy.deepcopy(first.network.state_dict()))
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    second.plateau.load_state_dict(copy.deepcopy(first.plateau.state_dict()))
    assert rates + second.run(*UPS_AND_DOWNS[cut:]) == expected
    assert second.network[0].item() == through.network[0].item()
    assert second.num_steps() == through.num_steps()


def test_defaults_are_the_papers() -> None:
    losses = (MaskLoss(output="o"),)
    stage = Stage(name="s", nodes=("n",), losses=losses, epochs=1, batch_size=1)
    assert (stage.lr, stage.encoder_lr, stage.weight_decay) == (1e-4, 1e-4, 1e-4)
    assert (stage.schedule.factor, stage.schedule.patience) == (0.1, 20)
    assert (stage.clip_norm, stage.accumulate) == (10.0, 1)
