"""Figures of groups: counted by hand, with intervals, and none where there is no base."""

from typing import Any

import numpy as np
import pytest

from ckd.contract.confusion import Confusion
from ckd.data.groups import Group
from ckd.finding.verdict import Verdict
from ckd.scores.estimates import FIGURES, Answered, Estimate
from ckd.scores.groups import group_scores, group_table, groups_text
from ckd.scores.images import ImageScore
from ckd.scores.shares import share_interval


def image(
    mel: float, label: int | None, flagged: bool | None, *, refer: bool = False, jaccard: int = 5
) -> ImageScore:
    """An image whose mask has a Jaccard index of ``jaccard`` tenths."""
    referral = None if flagged is None else flagged or refer
    verdict = Verdict("MEL", flagged, referral)
    fine = Confusion(jaccard, 10 - jaccard, 1, 0)
    return ImageScore("i", fine, None, (mel, 1 - mel), label, verdict)


#: Six melanomas, of which four are flagged and one has no finding, and six nevi.
IMAGES = [
    image(0.9, 0, True), image(0.8, 0, True), image(0.7, 0, True), image(0.6, 0, True),
    image(0.3, 0, False, refer=True), image(0.2, 0, None),
    *(image(n / 10, 1, False, jaccard=9) for n in range(5)), image(0.65, 1, True, jaccard=9),
]  # fmt: skip


def answered(images: list[ImageScore], **changes: Any) -> Answered:
    known = {"labels": ("MEL", "NEV"), "tasks": ("MEL",), "target": "MEL", "decides": True}
    return Answered(images, **{**known, **changes})


def test_figures_are_those_counted_by_hand() -> None:
    all_of_them = answered(IMAGES)
    expected = {
        # Pairs of a melanoma and a nevus, in order: 0.9, 0.8, 0.7 beat six, 0.6 five, 0.3 three
        # and a half, 0.2 two and a half.
        "mean_auc": (29 / 36, 12),
        "target_auc": (29 / 36, 12),
        "jaccard": (0.7, 12),
        "sensitivity": (4 / 6, 6),
        "specificity": (5 / 6, 6),
        "referred": (6 / 12, 12),
        "unanswered": (1 / 12, 12),
    }
    for figure in FIGURES:
        estimate = all_of_them.estimate(figure)
        assert estimate is not None
        assert (estimate.value, estimate.count) == pytest.approx(expected[figure])
        assert 0 <= estimate.low < estimate.value < estimate.high <= 1
    low, high = share_interval(4, 6)
    assert all_of_them.estimate("sensitivity") == Estimate(4 / 6, low, high, 6)


def test_what_has_no_base_is_not_assessed() -> None:
    few = np.array([0, 1, 2, 3, 6, 7, 8, 9, 10])  # four melanomas, five nevi
    some = answered(IMAGES)
    assert some.estimate("target_auc", few) is None
    assert some.estimate("sensitivity", few) is None
    assert some.estimate("specificity", few) is not None
    without = answered(IMAGES, decides=False)
    told = [figure for figure in FIGURES if without.estimate(figure)]
    assert told == ["mean_auc", "target_auc", "jaccard"]
    masks_only = [ImageScore("i", Confusion(5, 5, 1, 0)) for _ in range(6)]
    of_masks = answered(masks_only, labels=(), tasks=(), target=None, decides=False)
    assert [figure for figure in FIGURES if of_masks.estimate(figure)] == ["jaccard"]


def test_a_mean_of_aucs_is_of_all_its_labels_or_not_assessed() -> None:
    labels = ("MEL", "NEV", "SBK")
    images = [
        ImageScore(f"{n}", probabilities=(0.2, 0.1 * n, 0.8 - 0.1 * n), label=label)
        for n, label in enumerate((0, 0, 1, 1, 1, 1, 1, 2))
    ]
    five_nevi = Answered(images, labels=labels, tasks=("MEL",), target="NEV", decides=False)
    assert five_nevi.estimate("target_auc") is None  # against three others
    more = [*images, *(ImageScore("x", None, None, (0.3, 0.3, 0.4), 2) for _ in range(2))]
    for tasks, is_told in ((("NEV",), True), (("NEV", "MEL"), False)):
        of_them = Answered(more, labels=labels, tasks=tasks, target="NEV", decides=False)
        assert of_them.estimate("target_auc") is not None
        assert (of_them.estimate("mean_auc") is not None) is is_told


def test_groups_are_told_in_a_table_that_a_card_can_take() -> None:
    groups = [
        Group("label", "MEL", tuple(range(6))), Group("label", "NEV", tuple(range(6, 12))),
        Group("skin tone", "dark skin", ()),
    ]  # fmt: skip
    scores = group_scores(answered(IMAGES), groups)
    head, rows = group_table(scores, "MEL")
    assert head[:4] == ("group", "images", "Jaccard", "AUC MEL")
    assert [row[:2] for row in rows] == [
        ("all images", "12"), ("MEL", "6"), ("NEV", "6"), ("dark skin", "0"),
    ]  # fmt: skip
    assert rows[1][2:5] == ("0.500 [0.500, 0.500]", "not assessed", "0.667 [0.300, 0.903]")
    assert rows[2][5] == "0.833 [0.436, 0.970]"
    assert rows[3][2:] == ("not assessed",) * 5
    text = groups_text(scores, "MEL", "Counted on twelve.").splitlines()
    assert text[0].startswith("Counted on twelve. In brackets are 95 % intervals")
    assert text[-1] == f"| dark skin | 0 |{' not assessed |' * 5}"
    assert scores[3].as_dict() == {
        "kind": "skin tone", "name": "dark skin", "count": 0, "jaccard": None, "target_auc": None,
        "sensitivity": None, "specificity": None, "referred": None,
    }  # fmt: skip
