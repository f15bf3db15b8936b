"""Curves and their areas agree with scikit-learn and with known values."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.confusion import (
    Confusion,
    confusion_from_scores,
)
from ckd.contract.errors import InputError
from ckd.scores.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve

#: Sums of a few hundred float64 in another order; anything larger is another definition.
CLOSE = 1e-12


def scores_with_ties(seed: int, size: int = 200) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    positive = rng.random(size) < 0.3
    return np.round(rng.normal(positive, 1.0), 1), positive


@pytest.mark.parametrize("seed", range(8))
def test_areas_and_curves_agree_with_sklearn(seed: int) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = scores_with_ties(seed)
    assert roc_auc(scores, positive) == pytest.approx(
        sklearn_metrics.roc_auc_score(positive, scores), abs=CLOSE
    )
    assert average_precision(scores, positive) == pytest.approx(
        sklearn_metrics.average_precision_score(positive, scores), abs=CLOSE
    )

    roc = roc_curve(scores, positive)
    theirs = sklearn_metrics.roc_curve(positive, scores, drop_intermediate=False)
    ours = (roc.false_positive_rate_T, roc.true_positive_rate_T, roc.thresholds_T)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=CLOSE)

    pr = precision_recall_curve(scores, positive)
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(pr.precision_T[::-1], precision, atol=CLOSE)
    np.testing.assert_allclose(pr.recall_T[::-1], recall, atol=CLOSE)
    np.testing.assert_array_equal(pr.thresholds_T[:0:-1], thresholds)


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_the_share_of_pairs_in_order(seed: int) -> None:
    scores, positive = scores_with_ties(seed, size=60)
    ahead = scores[positive][:, None] - scores[~positive][None, :]
    assert roc_auc(scores, positive) == pytest.approx(((np.sign(ahead) + 1) / 2).mean(), abs=CLOSE)


@pytest.mark.parametrize("seed", range(4))
def test_auc_and_ap_depend_only_on_the_order_of_scores(seed: int) -> None:
    scores, positive = scores_with_ties(seed)
    auc, ap = roc_auc(scores, positive), average_precision(scores, positive)
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    for other in (3.0 * scores - 7.0, np.exp(scores), np.arctan(scores), scores**3):
        assert (roc_auc(other, positive), average_precision(other, positive)) == (auc, ap)
    assert roc_auc(scores[shuffled], positive[shuffled]) == auc
    assert average_precision(scores[shuffled], positive[shuffled]) == ap
    assert roc_auc(-scores, positive) == pytest.approx(1.0 - auc, abs=CLOSE)
    assert roc_auc(-scores, ~positive) == auc


def test_known_areas() -> None:
    positive = np.array([True, False, True, False, False])
    assert roc_auc(np.full(5, 0.3), positive) == 0.5
    assert average_precision(np.full(5, 0.3), positive) == pytest.approx(2 / 5, abs=CLOSE)
    assert roc_auc(np.array([0.9, 0.1, 0.8, 0.2, 0.3]), positive) == 1.0
    assert roc_auc(np.array([0.1, 0.9, 0.2, 0.8, 0.7]), positive) == 0.0
    assert roc_auc(np.array([math.inf, 0.0, 1.0, -math.inf, 2.0]), positive) == 5 / 6
    # Ranked + - + - -: precision 1 at recall 1/2, then 2/3 at recall 1.
    falling = np.array([0.9, 0.8, 0.7, 0.6, 0.5], dtype=np.float32)
    assert average_precision(falling, positive) == pytest.approx(5 / 6, abs=CLOSE)


def test_a_single_class_has_no_area() -> None:
    scores = np.array([0.1, 0.2, 0.7])
    for positive in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert math.isnan(roc_auc(scores, positive))
        assert math.isnan(average_precision(scores, positive))
    assert np.isnan(roc_curve(scores, np.zeros(3, dtype=bool)).true_positive_rate_T).all()


def test_a_score_at_the_threshold_is_negative() -> None:
    confusion = confusion_from_scores(np.array([0.5, 0.5001, 0.5]), np.array([True, True, False]))
    assert confusion == Confusion(tp=1, fn=1, tn=1, fp=0)


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        (np.array([0.1, math.nan]), np.array([True, False])),
        (np.array([0.1, 0.2]), np.array([1, 0])),
        (np.array([0.1, 0.2]), np.array([True])),
        (np.array([[0.1, 0.2]]), np.array([[True, False]])),
        (np.array([1, 2]), np.array([True, False])),
        (np.array([]), np.array([], dtype=bool)),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores: Any, positive: Any) -> None:
    for measure in (roc_auc, average_precision, roc_curve, confusion_from_scores):
        with pytest.raises(InputError):
            measure(scores, positive)
