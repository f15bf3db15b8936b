"""A run folder that holds something already: the same run, another one, or a part of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ckd.contract.errors import (
    InputError,
    UsageError,
)
from ckd.data.synthetic.write import write_isic2017
from ckd.train.fitting.run_folder import load_run
from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.recipes.text import with_overrides

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(
    runs: "TrainingRuns", capsys: pytest.CaptureFixture[str]
) -> None:
    watch = runs.watch()
    before = runs.contents(runs.finished)
    runs.fit(runs.finished, watch=watch)
    assert not watch.steps
    assert runs.contents(runs.finished) == before
    lines = capsys.readouterr().err
    for stage in ("rootseg", "cls", "seg"):
        assert f"{stage}: already trained" in lines


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_refused(runs: "TrainingRuns") -> None:
    before = runs.contents(runs.finished)
    for override in ("seed=1", "stages.seg.epochs=2", "system.scse=single"):
        with pytest.raises(UsageError, match=r"other settings.*--out.*--fresh"):
            runs.fit(runs.finished, with_overrides(runs.recipe, [override]))
    assert runs.contents(runs.finished) == before


@pytest.mark.slow
def test_other_data_in_the_same_folder_is_refused(runs: "TrainingRuns", tmp_path: Path) -> None:
    write_isic2017(tmp_path / "other", num_train=runs.num_train, num_val=2, side_px=64, seed=1)
    with pytest.raises(UsageError, match="other data"):
        runs.fit(runs.finished, data=tmp_path / "other")
    with pytest.raises(UsageError, match="other data"):
        runs.fit(runs.finished, options=replace(runs.options, fold=(0, 2)))


@pytest.mark.slow
def test_fresh_starts_over(runs: "TrainingRuns", copied: Path) -> None:
    watch = runs.watch()
    short = with_overrides(runs.recipe, ["stages.rootseg.epochs=1"])
    runs.fit(copied, short, replace(runs.rootseg, fresh=True), watch=watch)
    assert {step[:2] for step in watch.steps} == {("rootseg", 0)}
    assert not (copied / "cls").exists()
    assert not (copied / "seg").exists()


@pytest.mark.slow
def test_damaged_files_of_a_run_are_named(runs: "TrainingRuns", copied: Path) -> None:
    weights = copied / "cls" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cls/weights.safetensors: damaged.*remove it"):
        load_run(copied)
    description = json.loads((copied / "data.json").read_text())
    for damaged in ("3", json.dumps({**description, "labels": 3}), "{"):
        (copied / "data.json").write_text(damaged)
        with pytest.raises(InputError, match=r"data.json: cannot be read"):
            load_run(copied)


@pytest.mark.slow
def test_a_stage_can_be_started_over_alone(runs: "TrainingRuns", copied: Path) -> None:
    watch = runs.watch()
    before = runs.weights_of(copied, "rootseg")
    short = with_overrides(runs.recipe, ["stages.seg.epochs=2"])
    with pytest.raises(UsageError, match="other settings"):
        runs.fit(copied, short, replace(runs.options, stage="seg", fresh=True), watch=watch)
    runs.fit(copied, options=replace(runs.options, stage="seg", fresh=True), watch=watch)
    assert {step[0] for step in watch.steps} == {"seg"}
    runs.assert_same(runs.weights_of(copied, "rootseg"), before)


@pytest.mark.slow
def test_nothing_is_removed_for_a_stage_that_cannot_start(
    runs: "TrainingRuns", copied: Path
) -> None:
    shutil.rmtree(copied / "cls")
    before = runs.contents(copied)
    with pytest.raises(UsageError, match="stage seg needs cls"):
        runs.fit(copied, options=replace(runs.options, stage="seg", fresh=True))
    assert runs.contents(copied) == before


@pytest.mark.slow
def test_a_stage_on_top_of_other_weights_is_refused(runs: "TrainingRuns", copied: Path) -> None:
    folder = StageFolder(copied / "rootseg")
    networks = folder.networks()
    networks["rootseg"]["decode.3.bias"] += 1
    folder.keep(networks)
    with pytest.raises(UsageError, match=r"cls: trained on top of other weights.*--stage cls"):
        runs.fit(copied)


@pytest.mark.slow
def test_mended_masks_are_other_data(runs: "TrainingRuns", tmp_path: Path) -> None:
    mended = shutil.copytree(runs.data, tmp_path / "mended")
    mask = next(mended.rglob("*_segmentation.png"))
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    with pytest.raises(UsageError, match="other data"):
        runs.fit(runs.finished, data=mended)


@pytest.mark.slow
def test_a_stage_with_a_gap_upstream_is_refused(runs: "TrainingRuns", copied: Path) -> None:
    watch = runs.watch()
    shutil.rmtree(copied / "cls")
    shutil.rmtree(copied / "seg")
    with pytest.raises(UsageError, match=r"stage seg needs cls, .*--stage cls"):
        runs.fit(copied, options=replace(runs.options, stage="seg"), watch=watch)
    assert not watch.steps


@pytest.mark.slow
def test_an_unfinished_run_does_not_load(
    runs: "TrainingRuns", copied: Path, tmp_path: Path
) -> None:
    (copied / "seg" / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="stage seg is not finished"):
        load_run(copied)
    with pytest.raises(InputError, match="not a run folder"):
        load_run(tmp_path)
