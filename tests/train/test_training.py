"""Training stage by stage: what a run holds, and what training leaves alone."""

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch

from ckd.contract.labels import ISIC2017
from ckd.train.fitting.callbacks import ExponentialAverage
from ckd.train.fitting.run_folder import load_run

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


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
    runs: "TrainingRuns", stage: str, upstream: list[str], state: str
) -> None:
    saved = runs.checkpoint(runs.finished, stage)
    for name in upstream:
        prefix = "system.networks."
        after = {
            key.removeprefix(prefix): tensor
            for key, tensor in saved[state].items()
            if key.startswith(f"{prefix}{name}.")
        }
        assert any(key.endswith("running_var") for key in after)
        runs.assert_same(after, runs.weights_of(runs.finished, name))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rootseg", "cls", "seg"])
def test_a_stages_own_networks_change_with_their_statistics(
    runs: "TrainingRuns", stage: str
) -> None:
    torch.manual_seed(0)
    start = runs.recipe.system.build(ISIC2017, runs.recipe.tasks, 64, None).networks.state_dict()
    kinds: Counter[str] = Counter()
    for key, tensor in runs.weights_of(runs.finished, stage).items():
        assert tensor.isfinite().all(), key
        if key.endswith(("running_mean", "bn.weight", "fc.bias", "mu")):
            kinds[key.split(".")[-1]] += not torch.equal(tensor, start[key])
    # Statistics start at 0, and biases of the classifier at random.
    assert kinds["running_mean"] > 50


@pytest.mark.slow
def test_the_trained_system_is_returned_and_loads_again(runs: "TrainingRuns") -> None:
    recipe, system = load_run(runs.finished)
    assert recipe == runs.recipe
    assert system.labels == ISIC2017
    again = runs.fit(runs.finished)
    runs.assert_same(again.state_dict(), system.state_dict())
    assert not any(module.training for module in [*system.modules(), *again.modules()])
    state = system.networks.state_dict()
    for stage in runs.recipe.stages:
        weights = runs.weights_of(runs.finished, stage.name)
        runs.assert_same({key: state[key] for key in weights}, weights)


@pytest.mark.slow
def test_the_best_epoch_or_the_last_is_kept(runs: "TrainingRuns") -> None:
    best = runs.checkpoint(runs.finished, "cls", "best")
    assert best["epoch"] == runs.scores.index(max(runs.scores))
    assert not (runs.finished / "seg" / "best.ckpt").exists()
    for stage, which in (("rootseg", "last"), ("cls", "best"), ("seg", "last")):
        saved = runs.checkpoint(runs.finished, stage, which)["state_dict"]
        for key, tensor in runs.weights_of(runs.finished, stage).items():
            assert torch.equal(saved[f"system.networks.{key}"], tensor), key


@pytest.mark.slow
def test_averaged_weights_are_the_ones_kept(runs: "TrainingRuns") -> None:
    saved = runs.checkpoint(runs.finished, "rootseg")
    key = "system.networks.rootseg.decode.1.0.weight"
    assert torch.equal(
        runs.weights_of(runs.finished, "rootseg")[key[16:]], saved["state_dict"][key]
    )
    assert not torch.equal(saved["state_dict"][key], saved["current_model_state"][key])


@pytest.mark.slow
def test_a_plateau_lowers_the_rate_and_remembers_the_best_epoch(runs: "TrainingRuns") -> None:
    last = runs.checkpoint(runs.finished, "cls")
    best = runs.checkpoint(runs.finished, "cls", "best")
    rates = [group["lr"] for group in last["optimizer_states"][0]["param_groups"]]
    assert rates == pytest.approx([1e-3 / 2, 1e-3 / 2])  # three bad epochs, patience 2
    kept = last["callbacks"]["Plateau"]["best_weights"]
    assert {name.split(".")[2] for name in kept} == {"cls"}  # the frozen ones need not be kept
    runs.assert_same(kept, {name: best["state_dict"][name] for name in kept})
    assert last["callbacks"]["Plateau"]["num_bad"] == 1


@pytest.mark.slow
def test_the_run_is_described(runs: "TrainingRuns") -> None:
    described = json.loads((runs.finished / "data.json").read_text())
    assert described["name"] == "generated (isic2017 layout)"
    assert described["labels"] == list(ISIC2017)
    assert described["num_train"] == runs.num_train
    assert described["class_counts"] == [3, 2, 5]
    assert (runs.finished / "cls" / "logs" / "version_0" / "metrics.csv").stat().st_size > 0


@pytest.mark.slow
def test_the_mask_threshold_is_chosen_when_all_is_trained(runs: "TrainingRuns") -> None:
    record = json.loads((runs.finished / "mask_threshold.json").read_text())
    assert record["chosen_on"] == f"generated (isic2017 layout) train, {runs.num_train} images"
    assert load_run(runs.finished)[1].mask_threshold == record["mask_threshold"]


def test_an_average_over_few_steps_forgets_where_it_began() -> None:
    average, current = torch.zeros(1), torch.ones(1)
    follow = ExponentialAverage(0.995)
    for step in range(1, 11):
        average = follow(average, current, torch.tensor(step))
    assert float(average) > 0.99
    assert float(follow(torch.zeros(1), current, 10_000)) == pytest.approx(0.005)
