"""SSD-KD's system and recipes: what they hold, what they train, what they are judged by."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.console import no_bars
from ckd.contract.errors import InputError, UsageError
from ckd.contract.labels import ISIC2017, ISIC2019
from ckd.contract.spec import OutputSpec
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017
from ckd.train.evaluation.scoring import score_batch, scored_outputs
from ckd.train.feeding.augment import augment
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.feeding.dataset import EpochBatches, TrainingViews, training_loader
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.stage_data import read_data
from ckd.train.folds import count_macs
from ckd.train.recipes.catalogue import RECIPES
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.ssdkd import ssdkd
from ckd.train.recipes.text import load_recipe, with_overrides
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import CLASS_MAP
from ckd.train.systems.ssdkd import SsdKd

METHODS = [name for name in RECIPES if name.startswith("ssdkd")]
SMALL = SsdKd(teacher="resnet18", student="mnasnet0_5")


@cache
def shared(method: str) -> System:
    """Read only: `built` in evaluation mode."""
    return built(method).eval()


def built(method: str, seed: int = 0) -> System:
    system = RECIPES[method]().system
    assert isinstance(system, SsdKd)
    teacher = None if system.teacher is None else "resnet18"
    torch.manual_seed(seed)
    small = replace(system, teacher=teacher, student="mnasnet0_5")
    return small.build(ISIC2017, (), 64, None)


def test_sizes_and_costs_are_the_papers() -> None:
    with FakeTensorMode():
        system = SsdKd().build(ISIC2019, (), 224, None)
        assert count_macs(rewrite.deployed(system)) == 299_504_512
        assert count_macs(rewrite.teacher(system)) == pytest.approx(4.087e9, abs=5e5)
    networks = system.networks.items()
    assert {name: sum(p.numel() for p in net.parameters()) for name, net in networks} == {
        "teacher": 23_524_424,
        "student": 2_234_120,
        "connector": 2_627_584,
        "teacher_head": 8_392_704,
        "student_head": 3_279_360,
    }


@pytest.mark.parametrize("method", METHODS)
def test_only_the_student_is_deployed(method: str) -> None:
    system = shared(method)
    deployed = rewrite.deployed(system)
    assert [(n.name, n.outputs) for n in deployed.nodes] == [("student", ("logits", "features"))]
    image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(deployed(image)["logits"], system(image)["logits"])
    explained = rewrite.explained(deployed)(image)
    assert explained[CLASS_MAP].shape == (2, 3, 2, 2)
    bias = system.networks.get_submodule("student.classify.fc").get_parameter("bias")
    means = explained[CLASS_MAP].mean(dim=(2, 3)) + bias
    torch.testing.assert_close(means, explained["logits"])


def test_networks_start_alike_in_every_method() -> None:
    systems = {name: shared(name) for name in METHODS}
    for part in ("student", "teacher", "teacher_head"):
        assert len({s.digest({part}) for s in systems.values() if part in s.networks}) == 1
    assert built("ssdkd", seed=1).digest({"student"}) != systems["ssdkd"].digest({"student"})


@pytest.mark.parametrize("method", METHODS)
def test_the_teachers_stage_is_the_same_in_every_method(method: str) -> None:
    recipe = RECIPES[method]()
    if method != "ssdkd-alone":
        assert recipe.stage("teacher") == ssdkd().stage("teacher")
    assert recipe.stages[-1].name == "student"


def test_a_connector_without_teacher_is_refused() -> None:
    with pytest.raises(UsageError, match=r"name a teacher, or set both to false"):
        with_overrides(ssdkd(), ["system.teacher=null"])


@pytest.mark.parametrize("student", ["inception_v3", "vit_b_32"])
def test_images_of_a_size_that_a_network_does_not_take_are_refused(student: str) -> None:
    message = rf"{student} cannot take images of 64 px .*image_size=N, such as 224"
    alone = SsdKd(teacher=None, student=student, connector=False, embeddings=False)
    with pytest.raises(UsageError, match=message):
        alone.build(ISIC2017, (), 64, None)


# Judged by -----------------------------------------------------------------------------------


def test_a_stage_is_judged_by_the_logits_that_it_trains() -> None:
    recipe, outputs = ssdkd(), OutputSpec("logits")
    judged = [scored_outputs(stage, outputs) for stage in recipe.trained]
    assert [j.class_logits for j in judged] == ["teacher_logits", None, "logits"]
    assert judged[2] == outputs
    assert judged[1].names() == ()


def test_the_teachers_logits_are_scored_as_the_teachers(data: Path) -> None:
    system = built("ssdkd")
    samples = read_split(data, "val").samples
    good = torch.eye(3)[[s.label or 0 for s in samples]]
    tensors = {"teacher_logits": 9 * good, "logits": -9 * good}
    judged = scored_outputs(ssdkd().stage("teacher"), system.outputs)
    by_teacher = score_batch(system, tensors, samples, judged)
    by_student = score_batch(system, tensors, samples)
    for sample, teacher, student in zip(samples, by_teacher, by_student, strict=True):
        assert teacher.probabilities is not None
        assert student.probabilities is not None
        assert np.argmax(teacher.probabilities) == sample.label
        assert np.argmax(student.probabilities) != sample.label


def test_weights_of_other_class_names_are_refused(
    module: Callable[[str], tuple[StageModule, dict[str, Tensor]]],
) -> None:
    made, _ = module("student")
    saved: dict[str, object] = {}
    made.on_save_checkpoint(saved)
    assert saved == {"labels": list(ISIC2017)}
    made.on_load_checkpoint(saved)
    with pytest.raises(InputError, match=r"of NEV, SBK, MEL, expected MEL, SBK, NEV; .*--fresh"):
        made.on_load_checkpoint({"labels": list(reversed(ISIC2017))})


# One step ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_isic2017(root, num_train=4, num_val=4, side_px=64)
    return root


@pytest.fixture
def module(data: Path) -> Callable[[str], tuple[StageModule, dict[str, Tensor]]]:
    recipe = Recipe(name="small", system=SMALL, image_size=64, stages=ssdkd().stages)
    train_set, val_set = read_split(data, "train"), read_split(data, "val")
    system = built("ssdkd")

    def make(name: str) -> tuple[StageModule, dict[str, Tensor]]:
        stage = recipe.stage(name)
        views = TrainingViews(train_set, stage.augmentation, 64, 0, stage.needs)
        (batch,) = training_loader(views, EpochBatches(4, 4, 0, 0, 0, 1), num_workers=0)
        module = StageModule(recipe, stage, system, train_set, val_set)
        module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        return module.train(), batch

    return make


@pytest.mark.parametrize("stage", ["teacher", "teacher_head", "student"])
def test_every_trained_network_learns_and_no_other(
    module: Callable[[str], tuple[StageModule, dict[str, Tensor]]], stage: str
) -> None:
    made, batch = module(stage)
    assert len(batch["image"]) == (4 if stage == "teacher" else 16)
    made.training_step(batch, 0).backward()  # type: ignore[no-untyped-call]
    for name, network in made.system.networks.items():
        gradients = [p.grad for p in network.parameters()]
        if name in ssdkd().stage(stage).nodes:
            assert all(g is not None and g.isfinite().all() for g in gradients), name
            assert any(g is not None and g.any() for g in gradients), name
        else:
            assert gradients == [None] * len(gradients)


def test_nothing_is_kept_from_batch_to_batch(
    module: Callable[[str], tuple[StageModule, dict[str, Tensor]]],
) -> None:
    made, batch = module("student")
    made.eval()  # running statistics do not move
    tensors: list[weakref.ref[Tensor]] = []

    def watch(network: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> None:
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        tensors.extend(weakref.ref(tensor) for tensor in (*inputs, *outputs))

    handles = [network.register_forward_hook(watch) for network in made.system.networks.values()]
    first, second = (made.training_step(batch, 0).item() for _ in range(2))
    for handle in handles:
        handle.remove()
    assert first == second
    assert len(tensors) > 10
    assert [tensor for tensor in tensors if tensor() is not None] == []


def test_a_stage_without_anything_to_score_is_trained_blind(
    module: Callable[[str], tuple[StageModule, dict[str, Tensor]]],
) -> None:
    assert module("teacher_head")[0].val_set is None
    assert module("teacher")[0].val_set is not None


def test_a_share_of_the_views_is_rotated() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :32] = 255
    still = Augmentation(
        flip=False, shear_deg=0.0, scale=(1.0, 1.0), shift=(0.0, 0.0), colour="none",
        rotate_deg=120.0, rotate_share=0.25,
    )  # fmt: skip
    views = [augment(image, None, still, 64, np.random.default_rng(i))[0] for i in range(400)]
    rotated = sum(not np.array_equal(view, image) for view in views)
    assert 70 <= rotated <= 130  # 100 expected, the deviation is 8.7


def test_recipes_are_read_back_as_written(tmp_path: Path) -> None:
    for method in METHODS:
        recipe = RECIPES[method]()
        recipe.save(tmp_path / "recipe.json")
        assert load_recipe(tmp_path / "recipe.json") == recipe


def test_a_recipe_says_whether_lesions_may_straddle_its_splits(tmp_path: Path) -> None:
    ids = [f"i{number}" for number in range(120)]
    (tmp_path / "images").mkdir()
    for id_ in ids:
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / f"{id_}.jpg")
    rows = [f"{id_},{'ab'[n % 2]},lesion{n // 3}" for n, id_ in enumerate(ids)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,group", *rows]))

    def lesions(split_by: str) -> list[set[int]]:
        recipe = with_overrides(ssdkd(), [f"split_by={split_by}"])
        train_set, val_set = read_data(recipe, recipe.stages, tmp_path, None, no_bars)
        assert val_set is not None
        return [{int(s.id[1:]) // 3 for s in split.samples} for split in (train_set, val_set)]

    train, val = lesions("lesion")
    assert not train & val
    train, val = lesions("image")
    assert train & val
