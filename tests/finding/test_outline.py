"""Outlines as polygons, and masks without islands and holes."""

from dataclasses import replace

import numpy as np
import pytest
from findings import tiny_spec
from numpy.typing import NDArray

from ckd.contract.errors import BundleError
from ckd.contract.spec import Section
from ckd.finding.cleanup import MaskRule
from ckd.finding.outline import mask_of, outline_of


def ring_and_islands() -> NDArray[np.bool_]:
    """A square of 20 with a hole of 6, an island in the hole, one of 4 x 4 outside, one pixel."""
    mask_HW = np.zeros((40, 50), np.bool_)
    mask_HW[5:25, 5:25] = True
    mask_HW[10:16, 10:16] = False
    mask_HW[12:14, 12:14] = True
    mask_HW[30:34, 40:44] = True
    mask_HW[0, 49] = True
    return mask_HW


def test_an_outline_has_parts_and_holes_in_pixels_of_the_photograph() -> None:
    parts = outline_of(ring_and_islands())
    assert [len(part["holes"]) for part in parts] == [1, 0, 0, 0]
    assert parts[0]["outer"] == [[5, 5], [5, 24], [24, 24], [24, 5]]  # x, then y
    assert parts[-1]["outer"] == [[49, 0]] or parts[-2]["outer"] == [[49, 0]]
    assert outline_of(np.zeros((4, 4), np.bool_)) == []


@pytest.mark.parametrize("seed", range(20))
def test_an_outline_gives_its_mask_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask_HW = rng.random((23, 31)) < rng.uniform(0.1, 0.9)
    assert (mask_of(outline_of(mask_HW), 23, 31) == mask_HW).all()


def test_each_part_of_the_rule_does_what_it_says() -> None:
    mask_HW = ring_and_islands()
    assert MaskRule().apply(mask_HW) is mask_HW
    filled_HW = MaskRule(fills_holes=True).apply(mask_HW)
    assert filled_HW.sum() == 20 * 20 + 4 * 4 + 1
    largest_HW = MaskRule(least_share=1.0).apply(mask_HW)
    assert largest_HW.sum() == 20 * 20 - 6 * 6
    assert MaskRule(least_share=0.04).apply(mask_HW).sum() == mask_HW.sum() - 1 - 4
    assert MaskRule(least_fraction=2 / mask_HW.size).apply(mask_HW).sum() == mask_HW.sum() - 1
    both_HW = MaskRule(least_share=1.0, fills_holes=True).apply(mask_HW)
    assert both_HW.sum() == 400
    assert not MaskRule(least_share=1.0).apply(np.zeros((5, 5), np.bool_)).any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", [(0, 0), (9, 4), (27, 19)])
def test_it_does_not_matter_where_in_the_photograph_a_mask_lies(
    seed: int, at: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    small_HW = rng.random((23, 31)) < 0.5
    mask_HW, (row, column) = np.zeros((50, 50), np.bool_), at
    mask_HW[row : row + 23, column : column + 31] = small_HW
    parts, small_parts = outline_of(mask_HW), outline_of(small_HW)
    assert parts == [
        {
            "outer": [[x + column, y + row] for x, y in part["outer"]],
            "holes": [[[x + column, y + row] for x, y in hole] for hole in part["holes"]],
        }
        for part in small_parts
    ]
    for rule in (MaskRule(fills_holes=True), MaskRule(0.2), MaskRule(1.0, True)):
        before_HW, expected_HW = mask_HW.copy(), np.zeros((50, 50), np.bool_)
        expected_HW[row : row + 23, column : column + 31] = rule.apply(small_HW)
        assert (rule.apply(mask_HW) == expected_HW).all()
        assert (mask_HW == before_HW).all()


def test_the_least_fraction_is_one_of_the_whole_photograph() -> None:
    mask_HW = np.zeros((40, 50), np.bool_)
    mask_HW[10:20, 10:20] = True
    assert MaskRule(least_fraction=0.05).apply(mask_HW).sum() == 100
    assert not MaskRule(least_fraction=0.051).apply(mask_HW).any()


def test_of_two_equal_parts_one_stays() -> None:
    mask_HW = np.zeros((9, 9), np.bool_)
    mask_HW[1:3, 1:3] = mask_HW[5:7, 5:7] = True
    assert MaskRule(least_share=1.0).apply(mask_HW).sum() == 4
    assert MaskRule(least_share=0.99).apply(mask_HW).sum() == 8


def test_the_rule_of_a_bundle_is_read_back_or_refused() -> None:
    spec, rule = tiny_spec(), MaskRule(1.0, True, 0.001)
    assert MaskRule.of(spec) == MaskRule()
    assert MaskRule.of(replace(spec, sections={"mask": Section(rule.as_content())})) == rule
    usual = rule.as_content()
    for content, words in (
        ({**usual, "least_share": 2}, "least_share is '2', expected a number from 0 to 1"),
        ({**usual, "least_share": "0.5"}, "least_share is '0.5', expected"),
        ({**usual, "least_share": True}, "least_share is 'True', expected"),
        ({**usual, "least_fraction": 10**400}, "least_fraction is '1000000"),
        ({**usual, "least_fraction": float("nan")}, "least_fraction is 'nan'"),
        ({**usual, "fills_holes": 1}, "expected true or false"),
        ({**usual, "smooth": 3}, "smooth, expected least_share, fills_holes, least_fraction"),
        ({"least_share": 1}, "it holds least_share, expected"),
        ({}, "it holds nothing"),
    ):
        with pytest.raises(BundleError, match=f"section mask: .*{words}"):
            MaskRule.of(replace(spec, sections={"mask": Section(content)}))
