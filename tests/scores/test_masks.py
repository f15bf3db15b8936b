"""Scores of masks agree with the official ISIC scorer and with published tables.

Suffixes: H rows, W columns.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.confusion import (
    Confusion,
    confusion_from_masks,
    threshold_jaccard,
)
from ckd.contract.errors import InputError
from ckd.scores.metrics import (
    segmentation_scores,
)

#: Sums of a few hundred float64 in another order; anything larger is another definition.
CLOSE = 1e-12


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
