"""Learning rates over time: by optimiser step, or by lack of progress."""

import copy
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ckd.train.fitting.schedules import Plateau, learning_rate_factor
from ckd.train.recipes.stage import Schedule

# Cosine --------------------------------------------------------------------------------------


def test_the_cosine_schedule_warms_up_linearly_and_ends_at_its_floor() -> None:
    schedule = Schedule(kind="cosine", warmup=0.05, floor=1e-6)

    def factor(step: int) -> float:
        return learning_rate_factor(schedule, step, total=105, lr=1e-3)

    assert [factor(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert factor(5 + 50) == pytest.approx((1 + 1e-3) / 2)
    third = 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi / 4))
    assert factor(5 + 25) == pytest.approx(third)
    assert factor(105) == pytest.approx(1e-3)  # floor over learning rate
    assert factor(1000) == pytest.approx(1e-3)
    later = [factor(step) for step in range(5, 106)]
    assert later == sorted(later, reverse=True)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_cosine_schedule_stands_the_shortest_runs(total: int) -> None:
    factors = [learning_rate_factor(Schedule(kind="cosine"), s, total, 1e-3) for s in range(total)]
    assert factors[0] == 1.0
    assert all(0 < factor <= 1 for factor in factors)


# Plateau -------------------------------------------------------------------------------------


class Course:
    """A network and its optimiser, driven through validation scores epoch by epoch."""

    def __init__(self, schedule: Schedule, lrs: Sequence[float] = (1.0,)) -> None:
        self.network = nn.ParameterList([torch.zeros(1) for _ in lrs])
        self.module = nn.Module()
        self.module.system = nn.Module()
        self.module.system.networks = nn.ModuleDict(
            {"learns": self.network, "frozen": nn.ParameterList([torch.zeros(1)])}
        )
        self.optimizer = torch.optim.Adam(
            [{"params": [p], "lr": lr} for p, lr in zip(self.network, lrs, strict=True)]
        )
        self.plateau = Plateau(schedule, "val/score", ["learns"])
        self.epoch = 0

    def run(self, *scores: float) -> list[float]:
        """Learning rate of the first group after each epoch; weights are the epoch's number."""
        rates = []
        for score in scores:
            self.epoch += 1
            for parameter in self.network:
                parameter.grad = torch.ones(1)
            self.optimizer.step()
            for parameter in self.network:
                nn.init.constant_(parameter, self.epoch)
            self.validate({"val/score": torch.tensor(score)})
            rates.append(self.optimizer.param_groups[0]["lr"])
        return rates

    def validate(self, metrics: dict[str, torch.Tensor], sanity_checking: bool = False) -> None:
        trainer: Any = SimpleNamespace(
            sanity_checking=sanity_checking,
            callback_metrics=metrics,
            optimizers=[self.optimizer],
        )
        module: Any = self.module
        self.plateau.on_validation_end(trainer, module)

    def num_steps(self) -> float:
        return float(self.optimizer.state[self.network[0]]["step"])


UPS_AND_DOWNS = (0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.6, 0.8)


def test_the_rate_falls_after_consecutive_bad_epochs() -> None:
    schedule = Schedule(factor=0.1, patience=2)
    expected = [1, 1, 1, 1, 1, 1, 0.1, 0.1]
    assert Course(schedule).run(*UPS_AND_DOWNS) == pytest.approx(expected)


def test_a_cumulative_count_forgets_no_bad_epoch() -> None:
    schedule = Schedule(factor=0.1, patience=2, cumulative=True)
    expected = [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert Course(schedule).run(*UPS_AND_DOWNS) == pytest.approx(expected)


def test_the_count_starts_anew_after_each_step() -> None:
    rates = Course(Schedule(factor=0.1, patience=2)).run(0.5, 0.1, 0.1, 0.1, 0.1, 0.1)
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_an_equal_score_is_no_improvement() -> None:
    assert Course(Schedule(factor=0.1, patience=2)).run(0.5, 0.5, 0.5)[-1] == pytest.approx(0.1)


def test_a_score_that_is_not_a_number_is_no_improvement() -> None:
    course = Course(Schedule(factor=0.1, patience=2))
    assert course.run(0.5, math.nan, math.nan)[-1] == pytest.approx(0.1)
    assert course.plateau.best == 0.5


def test_every_group_falls_by_the_factor_and_not_below_the_floor() -> None:
    course = Course(Schedule(factor=0.1, patience=1, floor=1e-3), lrs=(1.0, 5e-3))
    course.run(0.5, 0.4)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([0.1, 1e-3])
    course.run(0.4, 0.4, 0.4)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize("reload_best", [False, True])
def test_a_step_goes_back_to_the_best_weights_and_the_optimiser_of_the_first_bad_epoch(
    reload_best: bool,
) -> None:
    schedule = Schedule(factor=0.1, patience=3, reload_best=reload_best)
    course = Course(schedule, lrs=(1.0, 0.5))
    course.run(0.5, 0.8, 0.7, 0.6)
    assert [p.item() for p in course.network] == [4, 4]  # not before its time
    course.run(0.6)
    assert [p.item() for p in course.network] == ([2, 2] if reload_best else [5, 5])
    assert course.num_steps() == (3 if reload_best else 5)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([0.1, 0.05])

    # The next three bad epochs go back again, with the optimiser as it was at their first.
    course.run(0.6, 0.6, 0.6)
    assert [p.item() for p in course.network] == ([2, 2] if reload_best else [8, 8])
    assert course.num_steps() == (4 if reload_best else 8)
    assert [g["lr"] for g in course.optimizer.param_groups] == pytest.approx([0.01, 0.005])


def test_an_improvement_forgets_the_optimiser_of_earlier_bad_epochs() -> None:
    course = Course(Schedule(factor=0.1, patience=2, reload_best=True))
    course.run(0.5, 0.4, 0.6, 0.5, 0.5)
    assert course.network[0].item() == 3
    assert course.num_steps() == 4  # of epoch 4, not of epoch 2


def test_sanity_checks_and_epochs_without_a_score_do_not_count() -> None:
    course = Course(Schedule(factor=0.1, patience=1))
    course.run(0.5)
    course.validate({"val/score": torch.tensor(0.1)}, sanity_checking=True)
    course.validate({"val/other": torch.tensor(0.1)})
    assert course.optimizer.param_groups[0]["lr"] == 1.0
    assert course.run(0.4) == pytest.approx([0.1])


@pytest.mark.parametrize("cut", range(len(UPS_AND_DOWNS)))
def test_a_schedule_taken_up_again_goes_on_as_if_never_interrupted(cut: int) -> None:
    schedule = Schedule(factor=0.1, patience=2, cumulative=True, reload_best=True)
    through, first = Course(schedule), Course(schedule)
    expected = through.run(*UPS_AND_DOWNS)
    rates = first.run(*UPS_AND_DOWNS[:cut])

    second = Course(schedule)
    second.epoch = first.epoch
    second.network.load_state_dict(copy.deepcopy(first.network.state_dict()))
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    second.plateau.load_state_dict(copy.deepcopy(first.plateau.state_dict()))
    assert rates + second.run(*UPS_AND_DOWNS[cut:]) == expected
    assert second.network[0].item() == through.network[0].item()
    assert second.num_steps() == through.num_steps()
