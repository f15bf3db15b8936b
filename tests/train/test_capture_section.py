"""The limits of captures: fitted to pictures whose faults are known."""

import numpy as np
import pytest

from ckd.capture import CHECKS
from ckd.data.captures import GRADES
from ckd.train.sections.capture import SET_LIMITS, Measured, fit_limits


def measured(clean: float, bad: float, spread: float, seed: int) -> Measured:
    """Scores of two hundred clean pictures, and of as many with each fault, turned to be worse."""
    rng = np.random.default_rng(seed)

    def scores(middle: float) -> list[dict[str, float]]:
        signs = {name: -1 if check.is_least else 1 for name, check in CHECKS.items()}
        return [
            {name: sign * (middle + spread * rng.standard_normal()) for name, sign in signs.items()}
            for _ in range(200)
        ]

    faulty = {(check.hint, grade): scores(bad) for check in CHECKS.values() for grade in GRADES}
    return Measured(scores(clean), faulty)


def test_a_limit_loses_no_more_clean_pictures_than_it_must() -> None:
    apart = measured(0, 10, 1, 0)
    limits = fit_limits([apart])
    for name, check in CHECKS.items():
        if name in SET_LIMITS:
            assert limits[name] == SET_LIMITS[name]
            continue
        failing = [check.fails(one[name], limits[name]) for one in apart.clean]
        assert np.mean(failing) == pytest.approx(0.01, abs=0.003)
        strong = apart.faulty[check.hint, GRADES[-1]]
        assert all(check.fails(one[name], limits[name]) for one in strong)


def test_where_faults_are_hard_to_tell_three_in_a_hundred_are_lost_at_most() -> None:
    alike = measured(0, 1, 1, 1)
    limits = fit_limits([alike])
    for name, check in CHECKS.items():
        if name not in SET_LIMITS:
            failing = [check.fails(one[name], limits[name]) for one in alike.clean]
            assert np.mean(failing) == pytest.approx(0.03, abs=0.006)


def test_of_two_kinds_the_laxer_limit_is_taken() -> None:
    kinds = [measured(0, 10, 1, 2), measured(3, 10, 1, 3)]
    limits = fit_limits(kinds)
    for name, check in CHECKS.items():
        if name not in SET_LIMITS:
            shares = [
                np.mean([check.fails(one[name], limits[name]) for one in kind.clean])
                for kind in kinds
            ]
            assert max(shares) == pytest.approx(0.01, abs=0.003)


def test_limits_that_are_set_are_those_that_are_not_fitted() -> None:
    assert set(SET_LIMITS) == {name for name, check in CHECKS.items() if check.set_at is not None}
    assert set(SET_LIMITS) == {"light", "cut_off", "width", "off_centre"}
