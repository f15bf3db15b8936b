"""Training stage by stage: what it leaves alone, takes up again, refuses, and shares out.

The runs are of generated images at 64 px, seconds each; that they learn is not asked here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

import ckd.train.fitting.module
from ckd.contract.errors import (
    EnvironmentUnusable,
    GateFailed,
    InputError,
    Interrupted,
    UsageError,
)
from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.data.layouts import read_split
from ckd.data.samples import Sample, SampleSet
from ckd.data.synthetic.write import write_isic2017
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.images import mask_scores
from ckd.train.evaluation.scoring import PlainImages, score_batch
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.feeding.dataset import EpochBatches, TrainingViews, training_loader
from ckd.train.fitting.callbacks import ExponentialAverage
from ckd.train.fitting.fit import FitOptions, fit
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.run_folder import load_run
from ckd.train.losses import MaskLoss
from ckd.train.losses.segmentation import binary_focal, soft_dice
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.recipe import Recipe, Stage
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.graph import Node, System

pytestmark = [
    pytest.mark.filterwarnings(warning)
    for warning in (
        # Lightning's hints, true of these runs and meant: tiny epochs, frozen networks, stages
        # without validation, folders that hold an interrupted run.
        "ignore:Checkpoint directory .* exists and is not empty",
        "ignore:The number of training batches .* is smaller than the logging interval",
        r"ignore:Found \d+ module\(s\) in eval mode at the start of training",
        "ignore:Total length of `list` across ranks is zero",
        "ignore:The dirpath has changed from",
        # Lightning calls what PyTorch has deprecated.
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated",
    )
]

#: The three kinds of stages that recipes have: averaged weights and the last epoch; a plateau that
#: goes back to the best epoch, which is also kept; several nodes at once.
RECIPE = with_overrides(
    ckdnet_tiny(),
    [
        "system.rootseg_width=8",
        "system.rootseg_low_width=4",
        "system.entangle_widths=[8,8,8,8]",
        "system.decoder_widths=[16,12,8,8,4]",
        *(f"stages.{stage}.batch_size=4" for stage in ("rootseg", "cls", "seg")),
        "stages.rootseg.ema_decay=0.5",
        "stages.cls.epochs=4",
        "stages.cls.accumulate=2",
        "stages.cls.ema_decay=null",
        "stages.cls.select=best",
        'stages.cls.schedule={"kind":"plateau","factor":0.5,"patience":2,"reload_best":true}',
        "stages.seg.epochs=1",
    ],
)
NUM_TRAIN = 10
OPTIONS = FitOptions(weights=None, accelerator="cpu")
ROOTSEG = replace(OPTIONS, stage="rootseg")

#: Validation scores that the classifier's epochs are given, so that what follows is known: the best
#: is the first, two bad ones lower the rate, and a third follows.
SCORES = (0.9, 0.5, 0.7, 0.8)


class Killed(BaseException):
    """The process ends here, as far as the training can tell."""


@dataclass
class Log:
    """What training did, and where it is to be killed: (stage, epoch, batch)."""

    steps: list[tuple[str, int, tuple[int, ...]]]
    kill_at: set[tuple[str, int, int]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads would cost more than they bring, and sums in one order repeat to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def log() -> Iterator[Log]:
    """Watches every training step of this module, and gives the classifier's epochs `SCORES`."""
    log = Log([], set())
    step, figures = StageModule.training_step, StageModule._figures

    def watched(self: StageModule, batch: dict[str, Tensor], number: int) -> Tensor:
        place = (self.stage.name, self.current_epoch, number)
        if place in log.kill_at:
            log.kill_at.remove(place)
            raise Killed
        log.steps.append((*place[:2], tuple(batch["index"].tolist())))
        return step(self, batch, number)

    def scripted(self: StageModule, scores: Any) -> dict[str, float]:
        measured = figures(self, scores)
        if self.stage.name == "cls" and self.stage.epochs == len(SCORES):
            measured["mean_auc"] = SCORES[self.current_epoch]
        return measured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageModule, "training_step", watched)
        patch.setattr(StageModule, "_figures", scripted)
        yield log


@pytest.fixture(autouse=True)
def _new_log(log: Log) -> None:
    log.steps.clear()
    assert not log.kill_at


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "isic2017"
    write_isic2017(root, num_train=NUM_TRAIN, num_val=6, side_px=64)
    return root


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all three stages, never interrupted. Not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    fit(RECIPE, data, out, OPTIONS)
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copied"))


def weights_of(run: Path, stage: str) -> dict[str, Tensor]:
    nodes = torch.load(run / stage / "weights.pt", weights_only=True)
    return {f"{node}.{key}": t for node, state in nodes.items() for key, t in state.items()}


def checkpoint(run: Path, stage: str, which: str = "last") -> dict[str, Any]:
    return dict(torch.load(run / stage / f"{which}.ckpt", weights_only=False))


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal to the last bit."""
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(got[key], tensor), key


# Stage by stage ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "upstream", "state"),
    [
        ("cls", ["rootseg"], "state_dict"),
        ("seg", ["rootseg", "cls"], "state_dict"),  # of averages
        ("seg", ["rootseg", "cls"], "current_model_state"),
    ],
)
def test_upstream_networks_stay_what_they_were_to_the_last_bit(
    finished: Path, stage: str, upstream: list[str], state: str
) -> None:
    saved = checkpoint(finished, stage)
    for name in upstream:
        prefix = "system.networks."
        after = {
            key.removeprefix(prefix): tensor
            for key, tensor in saved[state].items()
            if key.startswith(f"{prefix}{name}.")
        }
        assert any(key.endswith("running_var") for key in after)
        assert_same(after, weights_of(finished, name))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rootseg", "cls", "seg"])
def test_a_stages_own_networks_change_with_their_statistics(finished: Path, stage: str) -> None:
    torch.manual_seed(0)
    start = RECIPE.system.build(ISIC2017, RECIPE.tasks, 64, None).networks.state_dict()
    kinds: Counter[str] = Counter()
    for key, tensor in weights_of(finished, stage).items():
        assert tensor.isfinite().all(), key
        if key.endswith(("running_mean", "bn.weight", "fc.bias", "mu")):
            kinds[key.split(".")[-1]] += not torch.equal(tensor, start[key])
    # Statistics start at 0, and biases of the classifier at random.
    assert kinds["running_mean"] > 50


@pytest.mark.slow
def test_the_trained_system_is_returned_and_loads_again(finished: Path, data: Path) -> None:
    recipe, system = load_run(finished)
    assert recipe == RECIPE
    assert system.labels == ISIC2017
    again = fit(RECIPE, data, finished, OPTIONS)
    assert_same(again.state_dict(), system.state_dict())
    assert not any(module.training for module in [*system.modules(), *again.modules()])
    state = system.networks.state_dict()
    for stage in RECIPE.stages:
        assert_same({k: state[k] for k in weights_of(finished, stage.name)},
                    weights_of(finished, stage.name))  # fmt: skip


@pytest.mark.slow
def test_the_best_epoch_or_the_last_is_kept(finished: Path) -> None:
    assert checkpoint(finished, "cls", "best")["epoch"] == SCORES.index(max(SCORES))
    assert not (finished / "seg" / "best.ckpt").exists()
    for stage, which in (("rootseg", "last"), ("cls", "best"), ("seg", "last")):
        saved = checkpoint(finished, stage, which)["state_dict"]
        for key, tensor in weights_of(finished, stage).items():
            assert torch.equal(saved[f"system.networks.{key}"], tensor), key


@pytest.mark.slow
def test_averaged_weights_are_the_ones_kept(finished: Path) -> None:
    saved = checkpoint(finished, "rootseg")
    key = "system.networks.rootseg.decode.1.0.weight"
    assert torch.equal(weights_of(finished, "rootseg")[key[16:]], saved["state_dict"][key])
    assert not torch.equal(saved["state_dict"][key], saved["current_model_state"][key])


@pytest.mark.slow
def test_a_plateau_lowers_the_rate_and_remembers_the_best_epoch(finished: Path) -> None:
    last, best = checkpoint(finished, "cls"), checkpoint(finished, "cls", "best")
    rates = [group["lr"] for group in last["optimizer_states"][0]["param_groups"]]
    assert rates == pytest.approx([1e-3 / 2, 1e-3 / 2])  # three bad epochs, patience 2
    kept = last["callbacks"]["Plateau"]["best_weights"]
    assert {name.split(".")[2] for name in kept} == {"cls"}  # the frozen ones need not be kept
    assert_same(kept, {name: best["state_dict"][name] for name in kept})
    assert last["callbacks"]["Plateau"]["num_bad"] == 1


@pytest.mark.slow
def test_the_run_is_described(finished: Path) -> None:
    described = json.loads((finished / "data.json").read_text())
    assert described["name"] == "generated (isic2017 layout)"
    assert described["labels"] == list(ISIC2017)
    assert described["num_train"] == NUM_TRAIN
    assert described["class_counts"] == [3, 2, 5]
    assert (finished / "cls" / "logs" / "version_0" / "metrics.csv").stat().st_size > 0


# Interruption --------------------------------------------------------------------------------

#: In the middle of an epoch: past the first batch, the classifier between two accumulated ones and
#: just after its best epoch, which it must not forget.
PLACES = (("rootseg", 1, 1), ("cls", 1, 1), ("seg", 0, 1))


@dataclass(frozen=True)
class TakenUp:
    """A run that was killed at each of `PLACES` and taken up again."""

    run: Path
    steps: list[list[tuple[str, int, tuple[int, ...]]]]  # of each attempt
    in_cls: Path  # as the folder was when the classifier was killed


@pytest.fixture(scope="module")
def interrupted(data: Path, log: Log, tmp_path_factory: pytest.TempPathFactory) -> TakenUp:
    folder = tmp_path_factory.mktemp("interrupted")
    steps = []
    for place in PLACES:
        log.kill_at.add(place)
        log.steps.clear()
        with pytest.raises(Killed):
            fit(RECIPE, data, folder / "run", OPTIONS)
        steps.append(list(log.steps))
        if place[0] == "cls":
            shutil.copytree(folder / "run", folder / "in_cls")
    log.steps.clear()
    fit(RECIPE, data, folder / "run", OPTIONS)
    return TakenUp(folder / "run", [*steps, list(log.steps)], folder / "in_cls")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rootseg", "cls", "seg"])
def test_an_interrupted_run_ends_with_the_same_weights(
    interrupted: TakenUp, finished: Path, stage: str
) -> None:
    assert_same(weights_of(interrupted.run, stage), weights_of(finished, stage))


@pytest.mark.slow
def test_finished_epochs_are_not_repeated(interrupted: TakenUp) -> None:
    done = [Counter((stage, epoch) for stage, epoch, _ in steps) for steps in interrupted.steps]
    # Three batches an epoch, of four, four and two images; one was done before each kill.
    assert done[0] == {("rootseg", 0): 3, ("rootseg", 1): 1}
    assert done[1] == {("rootseg", 1): 3, ("cls", 0): 3, ("cls", 1): 1}
    assert done[2] == {("cls", 1): 3, ("cls", 2): 3, ("cls", 3): 3, ("seg", 0): 1}
    assert done[3] == {("seg", 0): 3}


@pytest.mark.slow
def test_an_epoch_has_every_image_once_in_an_order_of_its_own(interrupted: TakenUp) -> None:
    epochs: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    for steps in interrupted.steps:
        for stage, epoch, batch in steps:
            epochs.setdefault((stage, epoch), []).append(batch)
    orders = []
    for stage, epoch in (("rootseg", 0), ("cls", 0), ("cls", 2), ("cls", 3)):
        order = [index for batch in epochs[stage, epoch] for index in batch]
        assert sorted(order) == list(range(NUM_TRAIN))
        orders.append(tuple(order))
    assert len(set(orders)) == 3  # of three epochs; stages share the order of an epoch
    assert epochs["rootseg", 1][0] == epochs["rootseg", 1][1]  # begun again from its start


@pytest.mark.slow
def test_a_run_may_be_moved_before_it_is_taken_up_again(
    interrupted: TakenUp, finished: Path, data: Path, tmp_path: Path
) -> None:
    # Its best epoch so far lies in a folder that it remembers by another name.
    moved = Path(shutil.copytree(interrupted.in_cls, tmp_path / "moved"))
    hidden = interrupted.run.rename(interrupted.run.with_name("hidden"))
    try:
        fit(RECIPE, data, moved, replace(OPTIONS, stage="cls"))
    finally:
        hidden.rename(interrupted.run)
    assert_same(weights_of(moved, "cls"), weights_of(finished, "cls"))


@pytest.mark.slow
def test_a_run_killed_before_its_weights_were_written_writes_them(
    copied: Path, finished: Path, data: Path, log: Log
) -> None:
    (copied / "rootseg" / "weights.pt").unlink()
    fit(RECIPE, data, copied, ROOTSEG)
    assert not log.steps
    assert_same(weights_of(copied, "rootseg"), weights_of(finished, "rootseg"))


# The same folder again -----------------------------------------------------------------------


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(
    finished: Path, data: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    fit(RECIPE, data, finished, OPTIONS)
    assert not log.steps
    assert contents(finished) == before
    told = capsys.readouterr().err
    for stage in ("rootseg", "cls", "seg"):
        assert f"{stage}: already trained" in told


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_refused(finished: Path, data: Path) -> None:
    before = contents(finished)
    for override in ("seed=1", "stages.seg.epochs=2", "system.scse=single"):
        with pytest.raises(UsageError, match=r"other settings.*--out.*--fresh"):
            fit(with_overrides(RECIPE, [override]), data, finished, OPTIONS)
    assert contents(finished) == before


@pytest.mark.slow
def test_other_data_in_the_same_folder_is_refused(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    write_isic2017(tmp_path / "other", num_train=NUM_TRAIN, num_val=2, side_px=64, seed=1)
    with pytest.raises(UsageError, match="other data"):
        fit(RECIPE, tmp_path / "other", finished, OPTIONS)
    with pytest.raises(UsageError, match="other data"):
        fit(RECIPE, data, finished, replace(OPTIONS, fold=(0, 2)))


@pytest.mark.slow
def test_fresh_starts_over(copied: Path, data: Path, log: Log) -> None:
    short = with_overrides(RECIPE, ["stages.rootseg.epochs=1"])
    fit(short, data, copied, replace(ROOTSEG, fresh=True))
    assert {step[:2] for step in log.steps} == {("rootseg", 0)}
    assert not (copied / "cls").exists()
    assert not (copied / "seg").exists()


@pytest.mark.slow
def test_damaged_files_of_a_run_are_named(copied: Path) -> None:
    weights = copied / "cls" / "weights.pt"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cls/weights.pt: damaged.*remove it"):
        load_run(copied)
    told = json.loads((copied / "data.json").read_text())
    for damaged in ("3", json.dumps({**told, "labels": 3}), "{"):
        (copied / "data.json").write_text(damaged)
        with pytest.raises(InputError, match=r"data.json: cannot be read"):
            load_run(copied)


@pytest.mark.slow
def test_a_stage_can_be_started_over_alone(copied: Path, data: Path, log: Log) -> None:
    before = weights_of(copied, "rootseg")
    short = with_overrides(RECIPE, ["stages.seg.epochs=2"])
    with pytest.raises(UsageError, match="other settings"):
        fit(short, data, copied, replace(OPTIONS, stage="seg", fresh=True))
    fit(RECIPE, data, copied, replace(OPTIONS, stage="seg", fresh=True))
    assert {step[0] for step in log.steps} == {"seg"}
    assert_same(weights_of(copied, "rootseg"), before)


@pytest.mark.slow
def test_nothing_is_removed_for_a_stage_that_cannot_start(copied: Path, data: Path) -> None:
    shutil.rmtree(copied / "cls")
    before = contents(copied)
    with pytest.raises(UsageError, match="stage seg needs cls"):
        fit(RECIPE, data, copied, replace(OPTIONS, stage="seg", fresh=True))
    assert contents(copied) == before


@pytest.mark.slow
def test_a_stage_on_top_of_other_weights_is_refused(copied: Path, data: Path) -> None:
    weights = torch.load(copied / "rootseg" / "weights.pt", weights_only=True)
    weights["rootseg"]["decode.3.bias"] += 1
    torch.save(weights, copied / "rootseg" / "weights.pt")
    with pytest.raises(UsageError, match=r"cls: trained on top of other weights.*--stage cls"):
        fit(RECIPE, data, copied, OPTIONS)


@pytest.mark.slow
def test_mended_masks_are_other_data(finished: Path, data: Path, tmp_path: Path) -> None:
    mended = shutil.copytree(data, tmp_path / "mended")
    mask = next(mended.rglob("*_segmentation.png"))
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    with pytest.raises(UsageError, match="other data"):
        fit(RECIPE, mended, finished, OPTIONS)


@pytest.mark.slow
def test_a_stopped_training_says_how_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: StageModule, batch: Any, index: int) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(StageModule, "training_step", stop)
    with pytest.raises(Interrupted, match="rootseg was interrupted; the same command goes on"):
        fit(RECIPE, data, tmp_path / "run", ROOTSEG)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ckd.train.losses.segmentation, "soft_dice", lambda logits, *_: logits.mean() * np.nan
    )
    with pytest.raises(GateFailed, match=r"rootseg: the loss 'mask' is nan in epoch 1; lower"):
        fit(RECIPE, data, tmp_path / "run", ROOTSEG)


def test_an_average_over_few_steps_forgets_where_it_began() -> None:
    average, current = torch.zeros(1), torch.ones(1)
    follow = ExponentialAverage(0.995)
    for step in range(1, 11):
        average = follow(average, current, torch.tensor(step))
    assert float(average) > 0.99
    assert float(follow(torch.zeros(1), current, 10_000)) == pytest.approx(0.005)


def test_a_node_that_no_stage_trains_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = with_overrides(RECIPE, ['stages.seg.nodes=["seg_decoder"]'])
    with pytest.raises(UsageError, match="no stage trains seg_encoder"):
        fit(recipe, data, tmp_path / "run", OPTIONS)


def test_a_stage_of_an_unknown_node_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = with_overrides(RECIPE, ['stages.cls.nodes=["klass"]'])
    with pytest.raises(
        UsageError, match=r"stage cls: ckdnet has no node 'klass'; expected rootseg"
    ):
        fit(recipe, data, tmp_path / "run", OPTIONS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="no GPU"):
        fit(RECIPE, data, tmp_path / "run", replace(OPTIONS, accelerator="gpu"))


def test_a_folder_of_something_else_is_not_trained_into(data: Path, log: Log) -> None:
    before = contents(data)
    with pytest.raises(UsageError, match="is no run folder, and not empty"):
        fit(RECIPE, data, data, OPTIONS)
    assert contents(data) == before
    assert not log.steps


def test_weights_that_cannot_be_had_leave_no_run_behind(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="no such weight file"):
        fit(RECIPE, data, tmp_path / "run", replace(OPTIONS, weights=tmp_path / "gone.pth"))
    assert not (tmp_path / "run").exists()


def test_reading_all_images_beforehand_shows_how_far_it_is(data: Path, tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    def bars(what: str) -> Callable[[int, int], None]:
        return lambda done, total: told.setdefault(what, []).append((done, total))

    with pytest.raises(EnvironmentUnusable):  # so that it ends there
        fit(RECIPE, data, tmp_path / "run", replace(OPTIONS, weights=tmp_path / "gone.pth"), bars)
    assert told == {
        "train files": [(done, NUM_TRAIN) for done in range(1, NUM_TRAIN + 1)],
        "val files": [(done, 6) for done in range(1, 7)],
    }


@pytest.mark.slow
def test_the_mask_threshold_is_chosen_when_all_is_trained(finished: Path) -> None:
    record = json.loads((finished / "operating_point.json").read_text())
    assert record["chosen_on"] == f"generated (isic2017 layout) train, {NUM_TRAIN} images"
    assert load_run(finished)[1].mask_threshold == record["mask_threshold"]


def test_a_stage_whose_upstream_is_not_trained_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stage cls needs rootseg, which is not trained"):
        fit(RECIPE, data, tmp_path / "run", replace(OPTIONS, stage="cls"))


@pytest.mark.slow
def test_a_stage_with_a_gap_upstream_is_refused(copied: Path, data: Path, log: Log) -> None:
    shutil.rmtree(copied / "cls")
    shutil.rmtree(copied / "seg")
    with pytest.raises(UsageError, match=r"stage seg needs cls, .*--stage cls"):
        fit(RECIPE, data, copied, replace(OPTIONS, stage="seg"))
    assert not log.steps


def test_an_unknown_stage_leaves_no_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no stage 'segment'.*rootseg, cls, seg"):
        fit(RECIPE, data, tmp_path / "run", replace(OPTIONS, stage="segment"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_unfinished_run_does_not_load(copied: Path, tmp_path: Path) -> None:
    (copied / "seg" / "weights.pt").unlink()
    with pytest.raises(InputError, match="stage seg is not finished"):
        load_run(copied)
    with pytest.raises(InputError, match="not a run folder"):
        load_run(tmp_path)


# Data that is not whole ----------------------------------------------------------------------

SHORT = with_overrides(RECIPE, ["stages.rootseg.epochs=1"])


@pytest.fixture
def own_data(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "own"))


@pytest.mark.slow
def test_unreadable_files_are_left_out_and_named(
    own_data: Path, tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    train = own_data / "ISIC-2017_Training_Data"
    cut = train / "ISIC_0000003.jpg"
    cut.write_bytes(cut.read_bytes()[:500])
    masks = own_data / "ISIC-2017_Training_Part1_GroundTruth"
    (masks / "ISIC_0000005_segmentation.png").write_bytes(b"no PNG")
    Image.new("L", (64, 63)).save(masks / "ISIC_0000007_segmentation.png")
    fit(SHORT, own_data, tmp_path / "run", ROOTSEG)

    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 3
    for line, name in zip(lines, ("0000003.jpg", "0000005_seg", "0000007_seg"), strict=True):
        assert f"ISIC_{name}" in line
    assert sorted(i for *_, batch in log.steps for i in batch) == list(range(NUM_TRAIN - 3))
    assert json.loads((tmp_path / "run" / "data.json").read_text())["num_train"] == NUM_TRAIN - 3
    assert (tmp_path / "run" / "rootseg" / "weights.pt").exists()


def without_labels(root: Path) -> None:
    for table in root.glob("*_Part3_GroundTruth.csv"):
        table.unlink()


@pytest.mark.slow
def test_masks_alone_train_the_segmentation(own_data: Path, tmp_path: Path, log: Log) -> None:
    without_labels(own_data)
    fit(SHORT, own_data, tmp_path / "run", ROOTSEG)
    assert sorted(i for *_, batch in log.steps for i in batch) == list(range(NUM_TRAIN))
    assert (tmp_path / "run" / "rootseg" / "weights.pt").exists()


def test_the_stage_that_has_no_labels_is_named(own_data: Path, tmp_path: Path) -> None:
    without_labels(own_data)
    with pytest.raises(InputError, match=r"stage cls needs .* images with a label"):
        fit(SHORT, own_data, tmp_path / "run", OPTIONS)


def test_the_stage_that_has_no_masks_is_named(own_data: Path, tmp_path: Path) -> None:
    for masks in own_data.glob("*_Part1_GroundTruth"):
        shutil.rmtree(masks)
    with pytest.raises(InputError, match=r"stage rootseg needs .* images with a mask"):
        fit(SHORT, own_data, tmp_path / "run", OPTIONS)


def test_a_stage_that_cannot_choose_its_best_epoch_is_named_at_once(
    own_data: Path, tmp_path: Path, log: Log
) -> None:
    next(own_data.glob("*_Validation_Part3_GroundTruth.csv")).unlink()
    with pytest.raises(InputError, match=r"stage cls needs val.* images with a label"):
        fit(SHORT, own_data, tmp_path / "run", OPTIONS)
    assert not log.steps


# Batches -------------------------------------------------------------------------------------


def test_batches_deal_every_sample_out_exactly_once() -> None:
    for world in (1, 2, 3, 4):
        for batch_size in (1, 2, 3, 8):
            for num_samples in range(2 * world, 45):
                ranks = [
                    EpochBatches(num_samples, batch_size, 5, 0, rank, world).batches
                    for rank in range(world)
                ]
                what = f"{num_samples} samples, batches of {batch_size}, {world} processes"
                seen = [key for batches in ranks for batch in batches for key in batch]
                assert sorted(seen) == [(5, i) for i in range(num_samples)], what
                assert len({len(batches) for batches in ranks}) == 1, what
                smallest = min(len(batch) for batches in ranks for batch in batches)
                # One image has no batch statistics; a last batch never forces it on a process.
                assert smallest >= min(batch_size, 2), what
                largest = max(len(batch) for batches in ranks for batch in batches)
                assert largest <= batch_size + 2, what


def test_batches_differ_between_epochs_and_seeds_alone() -> None:
    def order(epoch: int, seed: int) -> list[int]:
        return [i for batch in EpochBatches(40, 8, epoch, seed, 0, 1) for _, i in batch]

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(4, 1)
    assert order(3, 1) != order(3, 2)


def test_processes_share_the_batch_that_one_would_have() -> None:
    # Twice the processes at half the batch: the same images make each step.
    for num_samples in (16, 17, 19, 20, 23):
        whole = EpochBatches(num_samples, 8, 0, 0, 0, 1).batches
        halves = [EpochBatches(num_samples, 4, 0, 0, rank, 2).batches for rank in (0, 1)]
        if num_samples % 8 in (2, 3):
            continue  # one process keeps a remainder that two would have to split too finely
        for batch, *parts in zip(whole, *halves, strict=True):
            assert sorted(batch) == sorted(parts[0] + parts[1])


def views_of(samples: SampleSet, target: str, **settings: Any) -> TrainingViews:
    return TrainingViews(samples, Augmentation(**settings), 64, seed=3, needs={target})


def test_a_view_depends_on_epoch_and_index_alone(data: Path) -> None:
    samples = read_split(data, "train")
    first, again = (views_of(samples, "mask", colour="strong") for _ in range(2))
    again[0, 2], again[5, 1]  # drawn between, and by another process as it were
    for key in ("image", "mask", "index"):
        assert torch.equal(first[4, 2][key], again[4, 2][key])
    assert not torch.equal(first[4, 2]["image"], first[5, 2]["image"])


def test_a_mask_moves_with_its_image(tmp_path: Path) -> None:
    mask_HW = np.zeros((90, 120), np.uint8)
    mask_HW[20:50, 10:70] = 255
    Image.fromarray(mask_HW).save(tmp_path / "mask.png")
    Image.fromarray(mask_HW).convert("RGB").save(tmp_path / "image.png")
    sample = Sample("a", tmp_path / "image.png", tmp_path / "mask.png", 0)
    views = views_of(SampleSet("s", "train", ("A",), (sample,)), "mask", colour="none")
    areas = set()
    for epoch in range(10):
        item = views[epoch, 0]
        seen_HW = item["image"][0, ..., 0] >= 128
        # Equal but where half a grey value rounds the other way.
        assert (seen_HW != (item["mask"][0, 0] == 1)).float().mean() < 0.005
        areas.add(int(seen_HW.sum()))
    assert len(areas) > 5


def test_views_of_an_image_lie_along_the_batch(data: Path) -> None:
    samples = read_split(data, "train")
    views = views_of(samples, "label", crop_scales=(0.25, 0.5), crop_margin_px=10)
    loader = training_loader(views, EpochBatches(NUM_TRAIN, 4, 0, 0, 0, 1), num_workers=0)
    batches = list(loader)
    assert [len(batch["image"]) for batch in batches] == [12, 12, 6]
    for batch in batches:
        assert batch["image"].shape[1:] == (64, 64, 3)
        assert batch["image"].dtype == torch.uint8
        expected = [samples.samples[int(i)].label for i in batch["index"]]
        assert batch["label"].tolist() == expected
        first, second, third = batch["index"].view(-1, 3).T
        assert torch.equal(first, second)
        assert torch.equal(second, third)
        for view, index in zip(batch["image"][::3], first, strict=True):
            plain_HWC = network_image(read_rgb(samples.samples[int(index)].image), 64)
            assert np.array_equal(view.numpy(), plain_HWC)


# One step ------------------------------------------------------------------------------------


@pytest.fixture
def module(data: Path) -> Callable[[str], StageModule]:
    torch.manual_seed(0)
    system = RECIPE.system.build(ISIC2017, RECIPE.tasks, 64, None)
    train_set = read_split(data, "train")

    def make(stage: str) -> StageModule:
        return StageModule(RECIPE, RECIPE.stage(stage), system, train_set, None)

    return make


@pytest.mark.parametrize("stage", ["rootseg", "cls", "seg"])
def test_only_the_stages_nodes_are_trained(
    module: Callable[[str], StageModule], stage: str
) -> None:
    made = module(stage)
    made.train()
    nodes = RECIPE.stage(stage).nodes
    for name, network in made.system.networks.items():
        assert {p.requires_grad for p in network.parameters()} == {name in nodes}
        assert {m.training for m in network.modules()} == {name in nodes}


def test_a_fresh_stem_bn_learns_at_the_rate_of_the_new_layers(data: Path) -> None:
    recipe = with_overrides(RECIPE, ["system.stem_bn=fresh", "stages.cls.encoder_lr=5e-4"])
    system = recipe.system.build(ISIC2017, recipe.tasks, 64, None)
    module = StageModule(recipe, recipe.stage("cls"), system, read_split(data, "train"), None)
    _, rest = module.configure_optimizers().param_groups
    stem_bn = next(m for m in system.networks["cls"].modules() if isinstance(m, nn.BatchNorm2d))
    assert {id(p) for p in stem_bn.parameters()} <= {id(p) for p in rest["params"]}


@pytest.mark.parametrize(
    ("stage", "encoders"), [("rootseg", "rootseg"), ("cls", "cls"), ("seg", "seg_encoder")]
)
def test_encoders_have_a_learning_rate_of_their_own(
    module: Callable[[str], StageModule], stage: str, encoders: str
) -> None:
    made = module(stage)
    made.stage = replace(
        made.stage,
        lr=3e-3,
        encoder_lr=5e-4,
        schedule=RECIPE.stage("cls").schedule,
        ema_decay=None,
        select="best",
    )
    optimizer = made.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam  # whose weight decay is L2
    first, second = optimizer.param_groups
    assert (first["lr"], second["lr"]) == (5e-4, 3e-3)
    assert first["weight_decay"] == second["weight_decay"] == made.stage.weight_decay
    encoder = made.system.networks.get_submodule(f"{encoders}.encoder")
    assert [id(p) for p in first["params"]] == [id(p) for p in encoder.parameters()]
    trained = {id(p) for n in made.stage.nodes for p in made.system.networks[n].parameters()}
    grouped = [id(p) for group in (first, second) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == trained


@pytest.mark.parametrize("what", ["encoder.stem.0.1.running_mean", "decode.3.bias"])
def test_a_change_upstream_does_not_pass(module: Callable[[str], StageModule], what: str) -> None:
    made = module("cls")
    made.check_frozen()
    made.system.networks["rootseg"].state_dict()[what].add_(1e-6)
    with pytest.raises(GateFailed, match="frozen network was changed"):
        made.check_frozen()


class Fixed(nn.Module):
    """Answers with its weights, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(2, 1, 8, 8))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize("accumulate", [1, 3])
def test_coarse_logits_are_enlarged_corner_to_corner_for_the_loss(accumulate: int) -> None:
    torch.manual_seed(0)
    fixed = Fixed()
    node = Node("net", fixed, (IMAGE,), ("coarse",))
    system = System("toy", [node], ("A",), (), 32, OutputSpec(coarse_logits="coarse"))
    stage = Stage(
        name="net", nodes=("net",), losses=(MaskLoss(output="coarse", pixel_weight=0.5),),
        epochs=1, batch_size=2, accumulate=accumulate,
    )  # fmt: skip
    made = StageModule(RECIPE, stage, system, SampleSet("s", "train", ("A",), ()), None)
    made.log = lambda *_, **__: None  # type: ignore[method-assign]
    mask = (torch.rand(2, 1, 32, 32) > 0.5).float()
    batch = {"image": torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "mask": mask,
             "index": torch.tensor([0, 1])}  # fmt: skip
    enlarged = F.interpolate(fixed.logits, (32, 32), mode="bilinear", align_corners=True)
    expected = accumulate * (soft_dice(enlarged, mask) + 0.5 * binary_focal(enlarged, mask))
    got = made.training_step(batch, 0)
    # The same sums; only the enlargement's products may be rounded otherwise.
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.slow
def test_gradients_of_accumulated_batches_are_summed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[list[Tensor]] = []

    def record(self: StageModule, _: Any) -> None:
        gradients = (p.grad for p in self.system.networks["rootseg"].parameters())
        steps.append([g.clone() for g in gradients if g is not None])

    monkeypatch.setattr(StageModule, "on_before_optimizer_step", record)
    # At next to no learning rate all batches of the epoch meet the same weights.
    still = ["stages.rootseg.lr=1e-30", "stages.rootseg.encoder_lr=0", "stages.rootseg.epochs=1",
             'stages.rootseg.schedule.kind="constant"']  # fmt: skip
    for accumulate in (1, 2):
        fit(
            with_overrides(RECIPE, [*still, f"stages.rootseg.accumulate={accumulate}"]),
            data,
            tmp_path / f"run{accumulate}",
            ROOTSEG,
        )
    first, second, third, both, rest = steps
    for g1, g2, g3, g12, g in zip(first, second, third, both, rest, strict=True):
        # Two ways of summing the same numbers.
        torch.testing.assert_close(g12, g1 + g2, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(g, g3, rtol=1e-4, atol=1e-6)  # a last group of one
    assert sum(g.abs().sum() for g in both) > 0


# Two processes -------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys
from pathlib import Path

import torch
import ckd.train.fitting.module
from ckd.train.recipes.text import load_recipe
from ckd.train.fitting.fit import FitOptions, fit
from ckd.train.fitting.module import StageModule

torch.set_num_threads(1)
seen, figures, answers, parameters = [], [], {}, []
kill_at = []
step, measure = StageModule.training_step, StageModule._figures
score, check = ckd.train.fitting.module.score_batch, StageModule.check_frozen


class Killed(BaseException):
    pass


def watched_step(self, batch, number):
    if [self.current_epoch, number] in kill_at:
        raise Killed
    seen.append([self.current_epoch, number, batch["index"].tolist()])
    return step(self, batch, number)


def watched_figures(self, scores):
    made = measure(self, scores)
    figures.append([self.current_epoch, len(scores), made])
    return made


def watched_scores(system, tensors, samples, results):
    for sample, logits in zip(samples, tensors["coarse_logits"], strict=True):
        answers[sample.id] = logits.double().mean().item()
    return score(system, tensors, samples, results)


def watched_check(self):
    parameters.append([p.double().sum().item() for p in self.parameters()])
    check(self)


StageModule.training_step, StageModule._figures = watched_step, watched_figures
ckd.train.fitting.module.score_batch, StageModule.check_frozen = watched_scores, watched_check


def main():
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    recipe = load_recipe(folder / "two.json")
    options = FitOptions(weights=None, stage="rootseg", accelerator="cpu", devices=2)
    for name, out in (("through", "a"), ("killed", "b"), ("resumed", "b")):
        kill_at[:] = [[1, 1]] if name == "killed" else []
        for record in (seen, figures, answers, parameters):
            record.clear()
        try:
            fit(recipe, data, folder / out, options)
        except Killed:
            answers["killed"] = True
        record = dict(seen=seen, figures=figures, answers=answers, parameters=parameters)
        rank = os.environ["LOCAL_RANK"]
        (folder / f"{name}-{rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
"""

#: 33 images to validate on: one process gets two batches of them, the other one.
NUM_VAL = 33


@dataclass(frozen=True)
class TwoProcesses:
    """What each of two processes recorded of a run that went through, and of one killed and
    resumed."""

    folder: Path
    data: Path
    recipe: Recipe

    def records(self, name: str) -> list[dict[str, Any]]:
        return [json.loads((self.folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> TwoProcesses:
    folder = tmp_path_factory.mktemp("two")
    data = folder / "data"
    write_isic2017(data, num_train=NUM_TRAIN + 1, num_val=NUM_VAL, side_px=64)
    recipe = with_overrides(RECIPE, ["stages.rootseg.batch_size=2", "stages.rootseg.select=best"])
    recipe.save(folder / "two.json")
    (folder / "program.py").write_text(PROGRAM)
    # Lightning starts the second process itself, as the first one was started.
    launched = {"LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(folder / "program.py"), str(data), str(folder)],
        env={k: v for k, v in os.environ.items() if k not in launched} | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # both processes, which wait for each other
        pytest.fail(f"two processes hung:\n{process.communicate()[0][-4000:]}")
    assert process.returncode == 0, output[-4000:]
    return TwoProcesses(folder, data, recipe)


@pytest.mark.slow
def test_two_processes_see_every_image_once_an_epoch(two: TwoProcesses) -> None:
    records = two.records("through")
    for epoch in (0, 1):
        shares = [[batch for e, _, batch in r["seen"] if e == epoch] for r in records]
        assert sorted(i for share in shares for batch in share for i in batch) == list(range(11))
        # Batches of four, the three left over joined to the last.
        assert [[len(batch) for batch in share] for share in shares] == [[2, 4], [2, 3]]


@pytest.mark.slow
def test_two_processes_end_with_the_same_parameters(two: TwoProcesses) -> None:
    for name in ("through", "resumed"):
        first, second = (record["parameters"] for record in two.records(name))
        assert len(first) == 1
        assert first == second


@pytest.mark.slow
def test_two_processes_validate_as_one_would(two: TwoProcesses) -> None:
    first, second = two.records("through")
    assert first["figures"] == second["figures"]
    assert [(epoch, count) for epoch, count, _ in first["figures"]] == [(0, NUM_VAL), (1, NUM_VAL)]
    assert len(first["answers"]) == 17
    answers = {**first["answers"], **second["answers"]}
    assert len(answers) == NUM_VAL

    system = two.recipe.system.build(ISIC2017, RECIPE.tasks, 64, None).eval()
    prefix = "system."
    saved = checkpoint(two.folder / "a", "rootseg")["state_dict"]
    system.load_state_dict({k.removeprefix(prefix): v for k, v in saved.items()}, strict=False)
    val = read_split(two.data, "val").with_masks()
    scores = []
    with torch.no_grad():
        for batch in DataLoader(PlainImages(val, 64), batch_size=11):
            tensors = system(batch["image"], ("coarse_logits",))
            samples = [val.samples[int(i)] for i in batch["index"]]
            scores += score_batch(system, tensors, samples)
            for sample, logits in zip(samples, tensors["coarse_logits"], strict=True):
                # Other batches, other kernels: another order of sums.
                assert answers[sample.id] == pytest.approx(logits.mean().item(), abs=1e-4)
    one = mask_scores(scores, "coarse")
    assert one is not None
    both = first["figures"][1][2]
    # Such a difference may turn a pixel at the border over: one of 4,096 in a few images.
    assert both["pixel_accuracy"] == pytest.approx(one.accuracy, abs=1e-4)
    assert both["jaccard"] == pytest.approx(one.jaccard, abs=1e-3)


@pytest.mark.slow
def test_two_processes_take_up_an_interrupted_run(two: TwoProcesses) -> None:
    for killed in two.records("killed"):
        assert killed["answers"]["killed"]
        assert [step[:2] for step in killed["seen"]] == [[0, 0], [0, 1], [1, 0]]
    for taken_up in two.records("resumed"):
        assert [step[:2] for step in taken_up["seen"]] == [[1, 0], [1, 1]]
    through, resumed = two.folder / "a", two.folder / "b"
    assert_same(weights_of(resumed, "rootseg"), weights_of(through, "rootseg"))
    for state in ("state_dict", "current_model_state"):
        assert_same(checkpoint(resumed, "rootseg")[state], checkpoint(through, "rootseg")[state])
