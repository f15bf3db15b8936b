"""How far the borders of two masks lie apart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.scores.boundary import boundary_distance

EMPTY = np.zeros((64, 64), np.bool_)


def disc(radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:64, :64] - 32
    return np.asarray(np.hypot(y, x) <= radius)


def test_the_distance_is_that_of_two_circles() -> None:
    assert boundary_distance(disc(20), disc(20)) == 0
    distance = boundary_distance(disc(20), disc(15))
    assert distance == pytest.approx(100 * 5 / np.hypot(64, 64), rel=0.15)


def test_the_edge_of_the_photograph_is_no_border() -> None:
    half, third = EMPTY.copy(), EMPTY.copy()
    half[:, :32] = True
    third[:, :22] = True
    assert boundary_distance(half, third) == pytest.approx(100 * 10 / np.hypot(64, 64))
    for other in (EMPTY, ~EMPTY):
        assert boundary_distance(half, other) is None
