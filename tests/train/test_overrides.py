"""Settings of a recipe are changed by `--set`; those that do not exist or fit are refused."""

import dataclasses
from typing import Any

import pytest

from ckd.contract.errors import UsageError
from ckd.train.losses import LabelLoss
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.ckdnet import CkdNet


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
        ("seed=4294967296", r"seed: .*4294967296"),
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
