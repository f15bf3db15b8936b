"""Exact intervals against what `scipy.stats.beta` of SciPy 1.17 gives."""

import pytest

from ckd.contract.binomial import exact_interval


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (9, 10, 0.5549838829718047, 0.9974714214555382),
        (30, 40, 0.5880380198485702, 0.873085201067155),
        (105, 117, 0.8276940767293133, 0.9458701728136145),
        (1800, 2000, 0.8860100257045732, 0.9128042164465583),
        (0, 10, 0.0, 0.3084971078187608),
        (10, 10, 0.6915028921812392, 1.0),
    ],
)
def test_the_interval_is_that_of_clopper_and_pearson(
    count: int, total: int, low: float, high: float
) -> None:
    assert exact_interval(count, total) == pytest.approx((low, high), abs=1e-9)


def test_another_level_is_narrower_and_nothing_seen_says_nothing() -> None:
    low, high = exact_interval(9, 10, 0.9)
    assert (low, high) == pytest.approx((0.6058366, 0.9948838), abs=1e-6)
    assert exact_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="11 of 10: expected from 0 to 10"):
        exact_interval(11, 10)
