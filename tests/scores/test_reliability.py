"""Whether probabilities mean what they say, and the table that tells it."""

import re
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.scores.metrics import bootstrap_interval
from ckd.scores.reliability import (
    brier_score,
    calibration_error,
    debiased_square,
    log_loss,
    reliability_bins,
)
from ckd.scores.reliability_text import Calibrated, Said, calibration_table, mended_text


def test_perfect_probabilities_have_no_error_but_its_bias() -> None:
    rng = np.random.default_rng(1)
    said_N = rng.beta(5, 1.2, 600)
    happened_N = rng.random(600) < said_N
    error = calibration_error(happened_N, said_N)
    assert error.bias == pytest.approx(0.035, abs=0.01)
    assert error.debiased < 0.02
    assert calibration_error(happened_N, said_N**0.3).debiased > 0.08
    assert [one.count for one in reliability_bins(happened_N, said_N, 4)] == [150] * 4
    truth_NK = np.array([[True, False], [False, True]])
    assert log_loss(truth_NK, np.full((2, 2), 0.5), exclusive=True) == pytest.approx(np.log(2))
    assert log_loss(truth_NK, np.full((2, 2), 0.5), exclusive=False) == pytest.approx(2 * np.log(2))
    assert brier_score(truth_NK, np.full((2, 2), 0.5)) == 0.5


def test_the_debiased_error_is_that_of_the_probabilities_and_not_of_chance() -> None:
    """What is five points off everywhere is so however many photographs tell it."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(100):
        said_N = rng.uniform(0.2, 0.8, 600)
        found.append(calibration_error(rng.random(600) < said_N + 0.05, said_N).debiased ** 2)
    assert np.sqrt(np.mean(found)) == pytest.approx(0.05, abs=0.006)


def _said(sharpness: float, photographs_of_each: int = 1) -> Said:
    """Of 600 lesions, what a network says that is right where ``sharpness`` is 1."""
    rng = np.random.default_rng(5)
    logits_N = rng.normal(0, 1.5, 600)
    happened_N = rng.random(600) < 1 / (1 + np.exp(-logits_N))
    said_N = 1 / (1 + np.exp(-sharpness * logits_N))
    return Said(
        truth_NK=np.stack([happened_N, ~happened_N], axis=1).repeat(photographs_of_each, axis=0),
        probabilities_NK=np.stack([said_N, 1 - said_N], axis=1).repeat(photographs_of_each, axis=0),
        source_N=np.arange(600).repeat(photographs_of_each),
        labels=("MEL", "NEV"),
        target="MEL",
        is_exclusive=True,
    )


def test_the_table_has_every_figure_with_its_interval() -> None:
    said = _said(1.0)
    header, rule, row = calibration_table({"as fitted": Calibrated.of(said)})
    assert header.count("|") == rule.count("|") == row.count("|")
    found = re.findall(r"(\d\.\d{3}) \((\d\.\d{3}) to (\d\.\d{3})\)", row)
    (loss, low, high), *others = [tuple(map(float, one)) for one in found]
    assert loss == round(log_loss(said.truth_NK, said.probabilities_NK, exclusive=True), 3)
    assert low < loss < high
    assert len(others) == 3
    assert row.count(", perfect 0.0") == row.count(", at most 0.0") == 2


def test_lesions_are_drawn_and_not_photographs() -> None:
    """A second copy of each photograph tells nothing new."""

    def width(said: Said) -> float:
        table = calibration_table({"": Calibrated.of(said)})
        low, high = re.findall(r"\((\d\.\d+) to (\d\.\d+)\)", table[2])[0]
        return float(high) - float(low)

    assert width(_said(1.0, 4)) == pytest.approx(width(_said(1.0)), abs=2e-3)


def _drawn_square(
    happened_N: NDArray[np.bool_], said_N: NDArray[np.float64], rows: NDArray[np.intp]
) -> float:
    return debiased_square(happened_N[rows], said_N[rows], drawn=2)


@pytest.mark.parametrize(("error", "least"), [(0.0, 48), (0.1, 48)])
def test_the_interval_of_the_debiased_error_holds_the_true_one(error: float, least: int) -> None:
    """In 48 of 56 times at least, where 95 % would be 53."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(56):
        said_N = rng.uniform(0.15, 0.85, 300)
        happened_N = rng.random(300) < said_N + error
        square = partial(_drawn_square, happened_N, said_N)
        low, high = bootstrap_interval(square, 300, repeats=200)
        held += max(low, 0.0) <= error**2 <= high
    assert held >= least


def test_it_is_said_what_fitting_mends() -> None:
    sharp, right = Calibrated.of(_said(3.0)), Calibrated.of(_said(1.0))
    assert all(line.endswith(", which halves it.") for line in mended_text(sharp, right))
    assert "does not halve it" in mended_text(sharp, sharp)[0]
    assert mended_text(right, sharp)[0].endswith("; fitting makes it worse here.")
    assert mended_text(right, right)[0].endswith(", where 0.04 or less leaves little to mend.")
