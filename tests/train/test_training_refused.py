"""Trainings that cannot work are refused before anything is written."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from ckd.contract.errors import (
    EnvironmentUnusable,
    UsageError,
)
from ckd.train.recipes.text import with_overrides

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


def test_a_node_that_no_stage_trains_is_refused(runs: "TrainingRuns", tmp_path: Path) -> None:
    recipe = with_overrides(runs.recipe, ['stages.seg.nodes=["seg_decoder"]'])
    with pytest.raises(UsageError, match="no stage trains seg_encoder"):
        runs.fit(tmp_path / "run", recipe)


def test_a_stage_of_an_unknown_node_is_refused(runs: "TrainingRuns", tmp_path: Path) -> None:
    recipe = with_overrides(runs.recipe, ['stages.cls.nodes=["klass"]'])
    with pytest.raises(
        UsageError, match=r"stage cls: ckdnet has no node 'klass'; expected rootseg"
    ):
        runs.fit(tmp_path / "run", recipe)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(runs: "TrainingRuns", tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="no GPU"):
        runs.fit(tmp_path / "run", options=replace(runs.options, accelerator="gpu"))


def test_a_folder_of_something_else_is_not_trained_into(runs: "TrainingRuns") -> None:
    watch = runs.watch()
    before = runs.contents(runs.data)
    with pytest.raises(UsageError, match="is no run folder, and not empty"):
        runs.fit(runs.data, watch=watch)
    assert runs.contents(runs.data) == before
    assert not watch.steps


def test_weights_that_cannot_be_had_leave_no_run_behind(
    runs: "TrainingRuns", tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentUnusable, match="no such weight file"):
        runs.fit(tmp_path / "run", options=replace(runs.options, weights=tmp_path / "gone.pth"))
    assert not (tmp_path / "run").exists()


def test_a_stage_whose_upstream_is_not_trained_is_refused(
    runs: "TrainingRuns", tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"stage cls needs rootseg, which is not trained"):
        runs.fit(tmp_path / "run", options=replace(runs.options, stage="cls"))


def test_an_unknown_stage_leaves_no_folder(runs: "TrainingRuns", tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no stage 'segment'.*rootseg, cls, seg"):
        runs.fit(tmp_path / "run", options=replace(runs.options, stage="segment"))
    assert not (tmp_path / "run").exists()
