"""Bootstrap intervals: their width, that they repeat themselves, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import UsageError
from ckd.scores.metrics import (
    bootstrap_interval,
)
from ckd.scores.ranking import roc_auc


def scores_with_ties(seed: int, size: int = 200) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    positive = rng.random(size) < 0.3
    return np.round(rng.normal(positive, 1.0), 1), positive


def test_bootstrap_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(lambda drawn: float(values[drawn].mean()), 400)
    half_width = 1.96 * values.std() / math.sqrt(400)
    # 1000 draws place a 2.5 % quantile to about a twentieth of the width.
    assert high - low == pytest.approx(2 * half_width, rel=0.15)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.15 * half_width)


def test_bootstrap_repeats_itself_and_widens_with_the_level() -> None:
    scores, positive = scores_with_ties(7)

    def auc(drawn: NDArray[np.intp]) -> float:
        return roc_auc(scores[drawn], positive[drawn])

    narrow = bootstrap_interval(auc, len(scores), level=0.8, repeats=200, seed=3)
    wide = bootstrap_interval(auc, len(scores), level=0.95, repeats=200, seed=3)
    assert wide == bootstrap_interval(auc, len(scores), level=0.95, repeats=200, seed=3)
    assert wide != bootstrap_interval(auc, len(scores), level=0.95, repeats=200, seed=4)
    assert wide[0] < narrow[0] < roc_auc(scores, positive) < narrow[1] < wide[1]


def test_bootstrap_ignores_draws_without_a_value() -> None:
    positive = np.arange(10) == 0  # a third of the draws miss the only positive
    scores = np.linspace(1.0, 0.0, 10)
    interval = bootstrap_interval(
        lambda drawn: roc_auc(scores[drawn], positive[drawn]), 10, repeats=100
    )
    assert interval == (1.0, 1.0)
    assert all(math.isnan(end) for end in bootstrap_interval(lambda _: math.nan, 10, repeats=5))


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0.0}, {"repeats": 0}])
def test_bootstrap_refuses_what_it_cannot_draw(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        bootstrap_interval(lambda _: 0.0, 10, **wrong)
    with pytest.raises(UsageError):
        bootstrap_interval(lambda _: 0.0, 0)
