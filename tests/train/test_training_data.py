"""Training on data that is not whole."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ckd.contract.errors import (
    EnvironmentUnusable,
    InputError,
)
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


@pytest.fixture
def own_data(runs: "TrainingRuns", tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs.data, tmp_path / "own"))


@pytest.mark.slow
def test_unreadable_files_are_left_out_and_named(
    runs: "TrainingRuns", own_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = runs.watch()
    train = own_data / "ISIC-2017_Training_Data"
    cut = train / "ISIC_0000003.jpg"
    cut.write_bytes(cut.read_bytes()[:500])
    masks = own_data / "ISIC-2017_Training_Part1_GroundTruth"
    (masks / "ISIC_0000005_segmentation.png").write_bytes(b"no PNG")
    Image.new("L", (64, 63)).save(masks / "ISIC_0000007_segmentation.png")
    runs.fit(tmp_path / "run", short(runs), runs.rootseg, data=own_data, watch=watch)

    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 3
    for line, name in zip(lines, ("0000003.jpg", "0000005_seg", "0000007_seg"), strict=True):
        assert f"ISIC_{name}" in line
    assert sorted(i for *_, batch in watch.steps for i in batch) == list(range(runs.num_train - 3))
    described = json.loads((tmp_path / "run" / "data.json").read_text())
    assert described["num_train"] == runs.num_train - 3
    assert (tmp_path / "run" / "rootseg" / "weights.safetensors").exists()


def short(runs: "TrainingRuns") -> Recipe:
    return with_overrides(runs.recipe, ["stages.rootseg.epochs=1"])


def without_labels(root: Path) -> None:
    for table in root.glob("*_Part3_GroundTruth.csv"):
        table.unlink()


@pytest.mark.slow
def test_masks_alone_train_the_segmentation(
    runs: "TrainingRuns", own_data: Path, tmp_path: Path
) -> None:
    watch = runs.watch()
    without_labels(own_data)
    runs.fit(tmp_path / "run", short(runs), runs.rootseg, data=own_data, watch=watch)
    assert sorted(i for *_, batch in watch.steps for i in batch) == list(range(runs.num_train))
    assert (tmp_path / "run" / "rootseg" / "weights.safetensors").exists()


def test_the_stage_that_has_no_labels_is_named(
    runs: "TrainingRuns", own_data: Path, tmp_path: Path
) -> None:
    without_labels(own_data)
    with pytest.raises(InputError, match=r"stage cls needs .* images with a label"):
        runs.fit(tmp_path / "run", short(runs), data=own_data)


def test_the_stage_that_has_no_masks_is_named(
    runs: "TrainingRuns", own_data: Path, tmp_path: Path
) -> None:
    for masks in own_data.glob("*_Part1_GroundTruth"):
        shutil.rmtree(masks)
    with pytest.raises(InputError, match=r"stage rootseg needs .* images with a mask"):
        runs.fit(tmp_path / "run", short(runs), data=own_data)


def test_a_stage_that_cannot_choose_its_best_epoch_is_named_at_once(
    runs: "TrainingRuns", own_data: Path, tmp_path: Path
) -> None:
    watch = runs.watch()
    next(own_data.glob("*_Validation_Part3_GroundTruth.csv")).unlink()
    with pytest.raises(InputError, match=r"stage cls needs val.* images with a label"):
        runs.fit(tmp_path / "run", short(runs), data=own_data, watch=watch)
    assert not watch.steps


def test_reading_all_images_beforehand_shows_how_far_it_is(
    runs: "TrainingRuns", tmp_path: Path
) -> None:
    progress: dict[str, list[tuple[int, int]]] = {}

    def bars(what: str) -> Callable[[int, int], None]:
        return lambda done, total: progress.setdefault(what, []).append((done, total))

    with pytest.raises(EnvironmentUnusable):  # so that it ends there
        runs.fit(
            tmp_path / "run",
            options=replace(runs.options, weights=tmp_path / "gone.pth"),
            bars=bars,
        )
    assert progress == {
        "train files": [(done, runs.num_train) for done in range(1, runs.num_train + 1)],
        "val files": [(done, 6) for done in range(1, 7)],
    }
