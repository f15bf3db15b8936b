"""Recipes: what they hold, and how they are written to a file and read again."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.losses import LabelLoss, MaskLoss
from ckd.train.recipes.catalogue import RECIPES, find_recipe
from ckd.train.recipes.ckdnet import ckdnet_r101, ckdnet_tiny
from ckd.train.recipes.stage import Schedule, Stage
from ckd.train.recipes.text import load_recipe, with_overrides
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.members import MEMBERS

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
    assert [bool(stage.clip_norm) for stage in ckdnet_r101().trained] == [False, True, True]


def test_learning_rates_fall_as_the_authors_did() -> None:
    constant, cumulative, reloading = (stage.schedule for stage in ckdnet_r101().trained)
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
    with torch.device("meta"):
        system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
    trained: list[str] = []
    for stage in recipe.trained:
        trained += [node for node in stage.nodes if node not in trained]
        # All that the output needs is trained by now, and its own node in this very stage.
        own = [name for name in stage.tensors() if not name.startswith(MEMBERS)]
        needed = [node.name for node in system.needed(own)]
        assert set(needed) <= set(trained)
        assert needed[-1] in stage.nodes
        # Who teaches was trained before, and answers what the stage is asked.
        for name in stage.taught_by:
            member = recipe.stage(name)
            assert recipe.stages.index(member) < recipe.stages.index(stage)
            assert {MEMBERS + tensor for tensor in member.tensors()} >= {*stage.tensors()} - {*own}
    assert sorted(trained) == sorted(system.networks)


def test_the_tiny_recipe_is_small() -> None:
    recipe = ckdnet_tiny()
    assert recipe.image_size == 64
    assert all(stage.epochs <= 2 for stage in recipe.trained)


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


def test_a_digest_is_of_every_setting_but_the_precision_of_the_machine() -> None:
    recipe = ckdnet_tiny()
    assert with_overrides(recipe, ['precision="bf16-mixed"']).digest() == recipe.digest()
    for setting in ("image_size=96", "seed=7", "stages.cls.lr=0.5", 'mask_threshold="half"'):
        assert with_overrides(recipe, [setting]).digest() != recipe.digest()


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


@pytest.mark.parametrize("text", ["", '{"name": ', "not JSON", "[" * 100_000])
def test_a_file_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.json"):
        load_recipe(tmp_path / "mine.json")


def test_defaults_are_the_papers() -> None:
    losses = (MaskLoss(output="o"),)
    stage = Stage(name="s", nodes=("n",), losses=losses, epochs=1, batch_size=1)
    assert (stage.lr, stage.encoder_lr, stage.weight_decay) == (1e-4, 1e-4, 1e-4)
    assert (stage.schedule.factor, stage.schedule.patience) == (0.1, 20)
    assert (stage.clip_norm, stage.accumulate) == (10.0, 1)
