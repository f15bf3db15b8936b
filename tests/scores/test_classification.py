"""Scores of several classes agree with the official ISIC scorer.

Suffixes: N samples, K classes.
"""

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.confusion import (
    Confusion,
)
from ckd.contract.errors import InputError, UsageError
from ckd.scores.metrics import (
    balanced_accuracy,
    classification_scores,
    segmentation_scores,
)

#: Sums of a few hundred float64 in another order; anything larger is another definition.
CLOSE = 1e-12


LABELS = ("MEL", "SBK", "NEV")


#: The official scorer (5.6.0) still calls pandas in a way that pandas 3.1 deprecates.
tolerating_the_oracle = pytest.mark.filterwarnings("ignore:The inplace keyword in Series.rename")


def class_probabilities(
    seed: int, size: int = 90, digits: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities of three classes with many equal values, some equal maxima, all classes."""
    rng = np.random.default_rng(seed)
    labels = np.append([0, 1, 2], rng.integers(0, 3, size - 3))
    logits = rng.normal(size=(size, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = np.round(probabilities, digits)
    probabilities[:4] = [[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [0.1, 0.45, 0.45], [0.5, 0.5, 0.0]]
    return probabilities, labels


def official_classification(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64]
) -> Any:
    scorer = pytest.importorskip("isic_challenge_scoring")
    pandas = pytest.importorskip("pandas")
    truth = pandas.DataFrame(np.eye(3)[labels_N], columns=list(LABELS))
    predicted = pandas.DataFrame(probabilities_NK, columns=list(LABELS))
    ones = np.ones(len(labels_N))
    weights = pandas.DataFrame({"score_weight": ones, "validation_weight": ones})
    return scorer.ClassificationScore(truth, predicted, weights, scorer.ClassificationMetric.AUC)


@tolerating_the_oracle
@pytest.mark.parametrize("seed", range(6))
def test_classification_agrees_with_the_official_scorer(seed: int) -> None:
    probabilities, labels = class_probabilities(seed)
    theirs = official_classification(probabilities, labels)
    ours = classification_scores(probabilities, labels, LABELS)
    per_category = theirs.per_category
    for label, scores in ours.per_label.items():
        row = per_category.loc[label]
        assert scores.auc == pytest.approx(row["auc"], abs=CLOSE)
        assert scores.average_precision == pytest.approx(row["ap"], abs=CLOSE)
        for name in ("sensitivity", "specificity", "accuracy", "ppv"):
            assert getattr(scores, name) == pytest.approx(row[name], abs=CLOSE), (label, name)
    assert ours.mean_auc == pytest.approx(theirs.overall, abs=CLOSE)
    expected = theirs.aggregate["balanced_accuracy"]
    assert ours.balanced_accuracy == pytest.approx(expected, abs=CLOSE)
    assert balanced_accuracy(probabilities, labels) == ours.balanced_accuracy


def test_balanced_accuracy_leaves_out_absent_classes_as_the_official_scorer_does() -> None:
    official = pytest.importorskip("isic_challenge_scoring.metrics")
    pandas = pytest.importorskip("pandas")
    probabilities, labels = class_probabilities(1)
    probabilities, labels = probabilities[labels != 1], labels[labels != 1]
    expected = official.balanced_multiclass_accuracy(
        pandas.DataFrame(np.eye(3)[labels], columns=list(LABELS)),
        pandas.DataFrame(probabilities, columns=list(LABELS)),
        pandas.Series(np.ones(len(labels))),
    )
    assert balanced_accuracy(probabilities, labels) == pytest.approx(expected, abs=CLOSE)


def test_a_tie_for_the_largest_probability_is_wrong() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    labels = np.array([0, 1, 0])
    assert balanced_accuracy(probabilities, labels) == pytest.approx(0.75, abs=CLOSE)
    scores = classification_scores(probabilities, labels, LABELS)
    assert scores.accuracy == pytest.approx(2 / 3, abs=CLOSE)


def test_isic2017_score_is_the_mean_over_its_two_tasks() -> None:
    probabilities, labels = class_probabilities(3)
    scores = classification_scores(probabilities, labels, LABELS, tasks=("MEL", "SBK"))
    expected = (scores.per_label["MEL"].auc + scores.per_label["SBK"].auc) / 2
    assert scores.tasks == ("MEL", "SBK")
    assert scores.mean_auc == pytest.approx(expected, abs=CLOSE)
    assert set(scores.per_label) == set(LABELS)


def test_a_half_decides_differently_from_the_largest() -> None:
    probabilities = np.array([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2]])
    scores = classification_scores(probabilities, np.array([0, 2, 1]), LABELS)
    assert scores.accuracy == 1.0
    assert scores.per_label["MEL"].sensitivity == 0.0


def test_an_absent_class_has_no_auc_and_does_not_spoil_the_mean() -> None:
    probabilities, labels = class_probabilities(2)
    probabilities, labels = probabilities[labels != 1], labels[labels != 1]
    scores = classification_scores(probabilities, labels, LABELS)
    absent = scores.per_label["SBK"]
    assert math.isnan(absent.auc)
    assert math.isnan(absent.average_precision)
    assert absent.sensitivity == 1.0
    expected = (scores.per_label["MEL"].auc + scores.per_label["NEV"].auc) / 2
    assert scores.mean_auc == pytest.approx(expected, abs=CLOSE)
    assert math.isnan(classification_scores(probabilities, labels, LABELS, ("SBK",)).mean_auc)


def test_scores_are_valid_json_with_null_for_nan() -> None:
    probabilities, labels = class_probabilities(2)
    keep = labels != 1
    scores = classification_scores(probabilities[keep], labels[keep], LABELS, ("SBK",))
    record = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert record["mean_auc"] is None
    assert record["per_label"]["SBK"]["auc"] is None
    assert record["per_label"]["MEL"]["auc"] == scores.per_label["MEL"].auc
    assert record["tasks"] == ["SBK"]
    assert record["num_images"] == int(keep.sum())
    masks = segmentation_scores([Confusion(tp=3, fn=1, tn=5, fp=1)])
    assert json.loads(json.dumps(masks.as_dict(), allow_nan=False))["jaccard"] == masks.jaccard


def test_float32_probabilities_are_accepted() -> None:
    probabilities, labels = class_probabilities(4)
    narrow = classification_scores(probabilities.astype(np.float32), labels, LABELS)
    assert narrow.mean_auc == classification_scores(probabilities, labels, LABELS).mean_auc


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.array([[0.2, 0.8, 0.0]]), np.array([3])),
        (np.array([[0.2, 0.8, 0.0]]), np.array([-1])),
        (np.array([[0.2, 0.8, 0.0]]), np.array([1.0])),
        (np.array([[0.2, 0.8, 0.0]]), np.array([1, 1])),
        (np.array([[2.0, -1.0, 0.0]]), np.array([0])),
        (np.array([[0.2, math.nan, 0.0]]), np.array([0])),
        (np.array([0.2, 0.8, 0.0]), np.array([0, 1, 2])),
        (np.zeros((0, 3)), np.zeros(0, dtype=int)),
    ],
)
def test_probabilities_that_cannot_be_scored_are_refused(probabilities: Any, labels: Any) -> None:
    with pytest.raises(InputError):
        classification_scores(probabilities, labels, LABELS)


def test_names_must_fit_the_classes() -> None:
    probabilities, labels = class_probabilities(0)
    for names in (("MEL", "SBK"), ("MEL", "MEL", "NEV")):
        with pytest.raises(InputError, match="label names"):
            classification_scores(probabilities, labels, names)
    with pytest.raises(UsageError, match="BCC"):
        classification_scores(probabilities, labels, LABELS, tasks=("MEL", "BCC"))


def test_where_labels_do_not_exclude_each_other_an_image_may_be_of_none() -> None:
    probabilities_NK = np.array([[0.9, 0.2], [0.3, 0.4], [0.2, 0.8], [0.6, 0.1], [0.5, 0.5]])
    labels_N = np.array([0, 2, 1, 2, 2])  # 2: of neither
    scores = classification_scores(probabilities_NK, labels_N, ("MEL", "SBK"), exclusive=False)
    assert scores.accuracy == pytest.approx(4 / 5)  # the fourth is taken for a melanoma
    assert scores.balanced_accuracy == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert scores.per_label["MEL"].auc == 1.0
    assert scores.per_label["MEL"].specificity == pytest.approx(3 / 4)
    with pytest.raises(InputError, match="from 0 to 1"):
        classification_scores(probabilities_NK, labels_N, ("MEL", "SBK"))
