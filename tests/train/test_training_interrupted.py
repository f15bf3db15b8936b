"""Interrupted trainings go on from their last finished epoch, and end as if never interrupted."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import pytest

from ckd.contract.errors import (
    GateFailed,
    Interrupted,
)
from ckd.train.losses import segmentation

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rootseg", "cls", "seg"])
def test_an_interrupted_run_ends_with_the_same_weights(runs: "TrainingRuns", stage: str) -> None:
    runs.assert_same(
        runs.weights_of(runs.interrupted.run, stage), runs.weights_of(runs.finished, stage)
    )


@pytest.mark.slow
def test_finished_epochs_are_not_repeated(runs: "TrainingRuns") -> None:
    attempts = runs.interrupted.steps
    done = [Counter((stage, epoch) for stage, epoch, _ in steps) for steps in attempts]
    # Three batches an epoch, of four, four and two images; one was done before each kill.
    assert done[0] == {("rootseg", 0): 3, ("rootseg", 1): 1}
    assert done[1] == {("rootseg", 1): 3, ("cls", 0): 3, ("cls", 1): 1}
    assert done[2] == {("cls", 1): 3, ("cls", 2): 3, ("cls", 3): 3, ("seg", 0): 1}
    assert done[3] == {("seg", 0): 3}


@pytest.mark.slow
def test_an_epoch_has_every_image_once_in_an_order_of_its_own(runs: "TrainingRuns") -> None:
    epochs: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    for steps in runs.interrupted.steps:
        for stage, epoch, batch in steps:
            epochs.setdefault((stage, epoch), []).append(batch)
    orders = []
    for stage, epoch in (("rootseg", 0), ("cls", 0), ("cls", 2), ("cls", 3)):
        order = [index for batch in epochs[stage, epoch] for index in batch]
        assert sorted(order) == list(range(runs.num_train))
        orders.append(tuple(order))
    assert len(set(orders)) == 3  # of three epochs; stages share the order of an epoch
    assert epochs["rootseg", 1][0] == epochs["rootseg", 1][1]  # begun again from its start


@pytest.mark.slow
def test_a_run_may_be_moved_before_it_is_taken_up_again(
    runs: "TrainingRuns", tmp_path: Path
) -> None:
    # Its best epoch so far lies in a folder that it remembers by another name.
    moved = Path(shutil.copytree(runs.interrupted.in_cls, tmp_path / "moved"))
    runs.fit(moved, options=replace(runs.options, stage="cls"))
    runs.assert_same(runs.weights_of(moved, "cls"), runs.weights_of(runs.finished, "cls"))


@pytest.mark.slow
def test_a_run_killed_before_its_weights_were_written_writes_them(
    runs: "TrainingRuns", copied: Path
) -> None:
    watch = runs.watch()
    (copied / "rootseg" / "weights.safetensors").unlink()
    runs.fit(copied, options=runs.rootseg, watch=watch)
    assert not watch.steps
    runs.assert_same(runs.weights_of(copied, "rootseg"), runs.weights_of(runs.finished, "rootseg"))


@pytest.mark.slow
def test_a_stopped_training_says_how_to_go_on(runs: "TrainingRuns", tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="rootseg was interrupted; the same command goes on"):
        runs.fit(tmp_path / "run", options=runs.rootseg, callbacks=[Stop()])


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_training(
    runs: "TrainingRuns", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "soft_dice", lambda logits, *_: logits.mean() * np.nan)
    with pytest.raises(GateFailed, match=r"rootseg: the loss 'mask' is nan in epoch 1; lower"):
        runs.fit(tmp_path / "run", options=runs.rootseg)
