"""Stages taken over from another run: when they may be, and what is said when not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from ckd.contract.errors import InputError, UsageError
from ckd.contract.labels import ISIC2017
from ckd.data.synthetic.write import write_isic2017
from ckd.train.fitting.reuse import offers
from ckd.train.fitting.run_folder import RunFolder, load_run
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.ssdkd import ssdkd, ssdkd_kd
from ckd.train.recipes.text import with_overrides

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns

DATA = {"labels": list(ISIC2017), "digest": "d", "weights": "none"}
GROUND = "upstream\nimages\n"


def pretended(run: Path, recipe: Recipe, **data: str) -> Path:
    """A run folder whose stages are finished, as far as its files tell."""
    run.mkdir(exist_ok=True)
    recipe.save(run / "recipe.json")
    description = {"name": "n", "num_train": 1, "class_counts": [], **DATA, **data}
    (run / "data.json").write_text(json.dumps(description))
    for stage in recipe.stages:
        (run / stage.name).mkdir(exist_ok=True)
        save_file({}, run / stage.name / "weights.safetensors")
        (run / stage.name / "rests_on.txt").write_text(GROUND)
    return run


def obstacles(run: Path, recipe: Recipe, out: Path) -> dict[str, str | None]:
    """Of every stage of ``recipe``, why it cannot be taken from the run; the others are taken."""
    torch.manual_seed(recipe.seed)
    system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
    offered = offers(run, recipe, DATA, system, None)
    reasons = {name: offer.obstacle(GROUND) for name, offer in offered.items()}
    for stage in recipe.stages:
        if reasons[stage.name] is None:
            RunFolder(out).stage(stage).take_from(offered[stage.name].source)
    return reasons


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["mask_threshold=half"], (None, None, None)),
        (["seed=7"], 3 * ("seed differs (6666 there, 7 here)",)),
        (["system.decoder_dropout=0.3"], (None, None, "the network seg_decoder is another")),
        (["system.energy_sign=1"], (None, "the network cls is another", "the network cls")),
        (["stages.cls.epochs=9"], (None, "epochs differs (2 there, 9 here)", None)),
        (["stages.seg.augmentation.flip=false"], (None, None, "augmentation differs")),
        (["image_size=96"], 3 * ("image_size differs (64 there, 96 here)",)),
    ],
)
def test_a_stage_is_taken_if_nothing_shaped_it_otherwise(
    tmp_path: Path, settings: list[str], expected: tuple[str | None, ...]
) -> None:
    recipe = ckdnet_tiny()
    run = pretended(tmp_path / "run", recipe)
    reasons = obstacles(run, with_overrides(recipe, settings), tmp_path / "out")
    for (stage, obstacle), start in zip(reasons.items(), expected, strict=True):
        assert (obstacle is None) == (start is None)
        assert (obstacle or "").startswith(start or "")
        taken = tmp_path / "out" / stage
        assert taken.exists() == (start is None)
        if start is None:
            names = {path.name for path in taken.iterdir()}
            assert names == {"weights.safetensors", "rests_on.txt", "reused_from.txt"}


@pytest.mark.parametrize(
    ("data", "message"),
    [({"digest": "x"}, "training images are others"), ({"weights": "x"}, "starting weights are")],
)
def test_other_data_or_starting_weights(tmp_path: Path, data: dict[str, str], message: str) -> None:
    run = pretended(tmp_path / "run", ckdnet_tiny(), **data)
    reasons = obstacles(run, ckdnet_tiny(), tmp_path / "out")
    assert all(obstacle is not None and message in obstacle for obstacle in reasons.values())


def test_what_is_not_finished_or_rests_on_something_else_is_not_taken(tmp_path: Path) -> None:
    run = pretended(tmp_path / "run", ckdnet_tiny())
    (run / "cls" / "weights.safetensors").unlink()
    for rests_on in (b"\xff others", None):
        if rests_on is None:
            (run / "seg" / "rests_on.txt").unlink()
        else:
            (run / "seg" / "rests_on.txt").write_bytes(rests_on)
        reasons = obstacles(run, ckdnet_tiny(), tmp_path / f"out{rests_on!r:.4}")
        assert "rests on other weights" in str(reasons["seg"])
    assert reasons["rootseg"] is None
    assert reasons["cls"] == "it is not finished there"
    (run / "cls" / "weights.safetensors").write_text("no weights")
    reasons = obstacles(run, ckdnet_tiny(), tmp_path / "damaged")
    assert "cls/weights.safetensors is damaged" in str(reasons["cls"])
    assert not (tmp_path / "damaged" / "cls").exists()


# In a training -------------------------------------------------------------------------------

_SMALL = [
    "image_size=64", "system.teacher=mnasnet0_5", "system.student=mnasnet0_5",
    "stages.teacher.epochs=1", "stages.student.epochs=1", "stages.student.batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(runs: "TrainingRuns") -> Path:
    def make(folder: Path) -> None:
        write_isic2017(folder, num_train=4, num_val=4, side_px=64)

    return runs.shared("four_images", make)


@pytest.fixture(scope="module")
def finished(runs: "TrainingRuns", data: Path) -> Path:
    recipe = with_overrides(ssdkd_kd(), _SMALL)
    return runs.shared("kd", lambda out: runs.fit(out, recipe, data=data))


def test_a_teacher_is_trained_once_for_students_of_other_seeds(
    runs: "TrainingRuns",
    data: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = [*_SMALL, "stages.teacher_head.epochs=1", "seed=3"]
    recipe = with_overrides(ssdkd(), settings)
    out = tmp_path / "run"
    reusing = replace(runs.options, reuse=finished)
    system = runs.fit(out, recipe, reusing, data=data)
    lines = capsys.readouterr().err
    assert f"teacher: taken from {finished / 'teacher'}" in lines
    assert "teacher_head: trained anew; there is no stage teacher_head there" in lines
    assert "student: trained anew; seed differs (2021 there, 3 here)" in lines
    weights = [(run / "teacher" / "weights.safetensors").read_bytes() for run in (finished, out)]
    assert weights[0] == weights[1]
    assert load_run(out)[1].digest() == system.digest()
    runs.fit(out, recipe, reusing, data=data)  # may be repeated, as any training
    assert "taken from" not in capsys.readouterr().err


def test_a_run_of_which_nothing_can_be_used_is_an_error(
    runs: "TrainingRuns", data: Path, finished: Path, tmp_path: Path
) -> None:
    recipe = with_overrides(ssdkd_kd(), [*_SMALL, "stages.teacher.epochs=2"])
    reusing = replace(runs.options, reuse=finished)
    with pytest.raises(UsageError, match=r"of teacher epochs differs \(1 there, 2 here\); leave"):
        runs.fit(tmp_path / "run", recipe, reusing, data=data)
    assert not (tmp_path / "run").exists()  # or it would refuse the corrected command


def test_a_folder_that_is_no_run_is_refused(
    runs: "TrainingRuns", data: Path, tmp_path: Path
) -> None:
    reusing = replace(runs.options, reuse=data)
    with pytest.raises(InputError, match=r"four_images: not a run folder .* --reuse"):
        runs.fit(tmp_path / "run", with_overrides(ssdkd_kd(), _SMALL), reusing, data=data)
