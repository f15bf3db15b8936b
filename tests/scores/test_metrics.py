"""Scores agree with the official ISIC scorer, with scikit-learn and with published tables.

Suffixes: H rows, W columns, N samples, K classes.
"""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.confusion import (
    Confusion,
    confusion_from_masks,
    confusion_from_scores,
    threshold_jaccard,
)
from ckd.contract.errors import InputError, UsageError
from ckd.scores.metrics import (
    balanced_accuracy,
    bootstrap_interval,
    classification_scores,
    segmentation_scores,
)
from ckd.scores.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve

#: Sums of a few hundred float64 in another order; anything larger is another definition.
CLOSE = 1e-12
LABELS = ("MEL", "SBK", "NEV")

#: The official scorer (5.6.0) still calls pandas in a way that pandas 3.1 deprecates.
tolerating_the_oracle = pytest.mark.filterwarnings("ignore:The inplace keyword in Series.rename")

#: ISIC 2017 test set: positives and negatives of each task.
SIZES = {"MEL": (117, 483), "SBK": (90, 510)}

#: As published for CKDNet: task, counts tp/fn/tn/fp, printed ACC, SEN, SPC and precision.
CKDNET = [
    ("MEL", (82, 35, 447, 36), ".8817", ".7009", ".9255", ".6949"),
    ("SBK", (62, 28, 492, 18), ".9233", ".6889", ".9647", ".7750"),
    ("MEL", (76, 41, 402, 81), ".7967", ".6496", ".8323", ".4841"),
    ("SBK", (65, 25, 483, 27), ".9133", ".7222", ".9471", ".7065"),
]

#: CLNet's Table 1: model, task, ACC, SEN, SPC in percent as printed.
CLNET = [
    ("ResNet50", "MEL", "81.33", "52.99", "88.20"),
    ("ResNet50", "SBK", "88.67", "53.33", "94.90"),
    ("Inception V3", "MEL", "82.17", "64.10", "86.54"),
    ("Inception V3", "SBK", "87.83", "75.56", "90.00"),
    ("ARLNet50", "MEL", "81.50", "52.99", "88.41"),
    ("Inception V3 + UNet", "MEL", "75.83", "79.49", "74.95"),
    ("Inception V3 + UNet", "SBK", "85.50", "86.67", "85.29"),
    ("ResNet50 + UNet", "MEL", "82.33", "59.83", "87.78"),
    ("ResNet50 + UNet", "SBK", "86.67", "90.00", "86.08"),
]


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def counts_printed_as(rate: str, total: int) -> list[int]:
    """Every count out of ``total`` that a table would print as ``rate`` percent."""
    return [count for count in range(total + 1) if percent(count / total) == rate]


def masks_HW(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A lesion and a prediction that overlaps it more or less."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:37, :53]
    truth = np.hypot(rows - 18, columns - 26) < rng.uniform(5, 15)
    predicted = np.hypot(rows - 18 - rng.uniform(0, 6), columns - 26) < rng.uniform(5, 15)
    return predicted, truth


def mask_cases() -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    empty = np.zeros((37, 53), dtype=bool)
    some, full = masks_HW(0)[1], ~empty
    edges = [
        (empty, some),
        (some, empty),
        (empty, empty),
        (full, full),
        (full, empty),
        (some, full),
    ]
    return edges + [masks_HW(seed) for seed in range(12)]


def scores_with_ties(seed: int, size: int = 200) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    positive = rng.random(size) < 0.3
    return np.round(rng.normal(positive, 1.0), 1), positive


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


# Masks


@pytest.mark.parametrize("case", range(len(mask_cases())))
def test_each_mask_scores_as_in_the_official_scorer(case: int) -> None:
    confusions = pytest.importorskip("isic_challenge_scoring.confusion")
    official = pytest.importorskip("isic_challenge_scoring.metrics")
    predicted, truth = mask_cases()[case]
    theirs = confusions.create_binary_confusion_matrix(truth, predicted)
    ours = confusion_from_masks(predicted, truth)
    assert (ours.tp, ours.fn, ours.tn, ours.fp) == tuple(theirs[["TP", "FN", "TN", "FP"]])
    for name in ("jaccard", "dice", "sensitivity", "specificity", "accuracy", "ppv"):
        assert getattr(ours, name) == getattr(official, f"binary_{name}")(theirs), name
    assert threshold_jaccard(ours.jaccard) == official.binary_threshold_jaccard(theirs)


@tolerating_the_oracle
def test_means_over_images_agree_with_the_official_scorer() -> None:
    scorer = pytest.importorskip("isic_challenge_scoring")
    cases = mask_cases()
    pairs = [
        SimpleNamespace(
            image_id=f"ISIC_{i}",
            prediction_image=np.where(predicted, 255, 0).astype(np.uint8),
            truth_image=np.where(truth, 255, 0).astype(np.uint8),
        )
        for i, (predicted, truth) in enumerate(cases)
    ]
    theirs = scorer.SegmentationScore(pairs).macro_average.to_dict()
    ours = segmentation_scores([confusion_from_masks(*case) for case in cases]).as_dict()
    assert ours.pop("num_images") == len(cases)
    assert ours == pytest.approx(theirs, abs=CLOSE)


def test_empty_prediction_of_an_empty_truth_is_perfect() -> None:
    nothing = np.zeros((4, 5), dtype=bool)
    confusion = confusion_from_masks(nothing, nothing)
    assert confusion == Confusion(tp=0, fn=0, tn=20, fp=0)
    assert confusion.jaccard == confusion.dice == confusion.sensitivity == confusion.ppv == 1.0
    assert confusion_from_masks(~nothing, nothing).jaccard == 0.0
    assert confusion_from_masks(~nothing, ~nothing).specificity == 1.0


def test_dice_and_jaccard_determine_each_other() -> None:
    for case in mask_cases():
        confusion = confusion_from_masks(*case)
        expected = 2 * confusion.jaccard / (1 + confusion.jaccard)
        assert confusion.dice == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("scale", [1, 5, 7, 12345, 1_518_000])
def test_jaccard_of_exactly_the_threshold_stands(scale: int) -> None:
    at = Confusion(tp=13 * scale, fn=4 * scale, tn=scale, fp=3 * scale)
    below = Confusion(tp=13 * scale, fn=4 * scale + 1, tn=scale, fp=3 * scale)
    assert threshold_jaccard(at.jaccard) == 0.65
    assert threshold_jaccard(below.jaccard) == 0.0


def test_images_are_averaged_not_pooled() -> None:
    small = Confusion(tp=1, fn=0, tn=9, fp=0)
    large = Confusion(tp=0, fn=100, tn=900, fp=0)
    scores = segmentation_scores([small, large])
    assert (scores.jaccard, scores.threshold_jaccard, scores.num_images) == (0.5, 0.5, 2)


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        (np.zeros((4, 5), dtype=bool), np.zeros((5, 4), dtype=bool)),
        (np.zeros((4, 5), dtype=bool), np.zeros((4, 5, 1), dtype=bool)),
        (np.full((4, 5), 255, dtype=np.uint8), np.zeros((4, 5), dtype=bool)),
        (np.zeros((4, 5), dtype=bool), np.zeros((4, 5))),
        (np.zeros((0, 5), dtype=bool), np.zeros((0, 5), dtype=bool)),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(predicted: Any, truth: Any) -> None:
    with pytest.raises(InputError):
        confusion_from_masks(predicted, truth)


def test_a_score_of_nothing_is_refused() -> None:
    with pytest.raises(InputError):
        segmentation_scores([])
    with pytest.raises(InputError):
        Confusion(tp=0, fn=0, tn=0, fp=0)
    with pytest.raises(InputError):
        Confusion(tp=-1, fn=0, tn=2, fp=0)


# Published tables


@pytest.mark.parametrize(("task", "counts", "acc", "sen", "spc", "precision"), CKDNET)
def test_ckdnet_counts_give_the_published_rates(
    task: str, counts: tuple[int, int, int, int], acc: str, sen: str, spc: str, precision: str
) -> None:
    confusion = Confusion(*counts)
    assert (confusion.tp + confusion.fn, confusion.tn + confusion.fp) == SIZES[task]
    rates = (confusion.accuracy, confusion.sensitivity, confusion.specificity, confusion.ppv)
    assert tuple(f"{rate:.4f}".lstrip("0") for rate in rates) == (acc, sen, spc, precision)


@pytest.mark.parametrize(("model", "task", "acc", "sen", "spc"), CLNET)
def test_clnet_rates_come_from_one_set_of_counts(
    model: str, task: str, acc: str, sen: str, spc: str
) -> None:
    positives, negatives = SIZES[task]
    (tp,) = counts_printed_as(sen, positives)
    (tn,) = counts_printed_as(spc, negatives)
    confusion = Confusion(tp=tp, fn=positives - tp, tn=tn, fp=negatives - tn)
    assert percent(confusion.sensitivity) == sen
    assert percent(confusion.specificity) == spc
    assert percent(confusion.accuracy) == acc, model


def test_arlnet50_sbk_sensitivity_and_specificity_are_swapped_in_print() -> None:
    positives, negatives = SIZES["SBK"]
    acc, printed_sen, printed_spc = "84.50", "84.51", "84.44"
    assert counts_printed_as(printed_sen, positives) == []
    assert counts_printed_as(printed_spc, negatives) == []
    assert counts_printed_as(printed_spc, positives) == [76]
    assert counts_printed_as(printed_sen, negatives) == [431]
    confusion = Confusion(tp=76, fn=14, tn=431, fp=79)
    assert percent(confusion.accuracy) == acc


# Curves of one class


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


# Several classes


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
    masks = segmentation_scores([confusion_from_masks(*masks_HW(1))])
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


# Intervals


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
