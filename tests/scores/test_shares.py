import pytest

from ckd.scores.shares import share_interval


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # As statsmodels' proportion_confint(method="wilson") gives them.
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (2, 149, 0.0037, 0.0476),
        (7, 665, 0.0051, 0.0215),
    ],
)
def test_an_interval_of_a_share(count: int, total: int, low: float, high: float) -> None:
    assert share_interval(count, total) == pytest.approx((low, high), abs=1e-4)


def test_no_image_says_nothing() -> None:
    assert share_interval(0, 0) == (0.0, 1.0)
