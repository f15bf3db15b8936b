"""Captures with known faults: what they do to picture and mask.

Suffixes: H rows, W columns.
"""

import cv2
import numpy as np
import pytest
from tests.capture.rig import capture

from ckd.data.captures import FAULTS, GRADES, MEANINGS, faulty, scene
from ckd.data.skin_around import skin_around
from ckd.finding.capture import HINTS


@pytest.mark.parametrize("hint", FAULTS)
def test_a_fault_is_the_same_again_and_changes_no_input(hint: str) -> None:
    image_HWC, mask_HW = capture(side_px=256)
    image_HWC, mask_HW = image_HWC.copy(), mask_HW.copy()
    one, two = (faulty(image_HWC, mask_HW, hint, 2, "a") for _ in range(2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image_HWC, capture(side_px=256)[0])
    assert one[0].shape == image_HWC.shape
    assert one[0].dtype == np.uint8
    assert one[1].dtype == np.bool_
    assert (one[0] != image_HWC).any()


def test_faults_are_those_that_are_measured() -> None:
    assert set(FAULTS) == set(MEANINGS) == set(HINTS) - {"lens_cap", "no_skin"}


def test_a_cut_leaves_as_much_of_the_lesion_as_it_says() -> None:
    image_HWC, mask_HW = capture(side_px=512)
    for grade, share in zip(GRADES, (0.1, 0.25, 0.45), strict=True):
        _, cut_HW = faulty(image_HWC, mask_HW, "cut_off", grade, "a")
        extents = [
            [int(np.ptp(places)) + 1 for places in np.nonzero(one)] for one in (mask_HW, cut_HW)
        ]
        left = min(after / before for before, after in zip(*extents, strict=True))
        assert left == pytest.approx(1 - share, abs=0.03)
        borders = (cut_HW[0], cut_HW[-1], cut_HW[:, 0], cut_HW[:, -1])
        assert sum(bool(border.any()) for border in borders) == 1


def test_a_small_lesion_is_as_small_and_an_off_centre_one_as_far_as_it_says() -> None:
    image_HWC, mask_HW = capture(side_px=512)
    for grade, width in zip(GRADES, (0.1, 0.07, 0.045), strict=True):
        _, small_HW = faulty(image_HWC, mask_HW, "too_small", grade, "a")
        assert np.sqrt(4 * small_HW.mean() / np.pi) == pytest.approx(width, rel=0.05)
    for grade, distance in zip(GRADES, (0.55, 0.65, 0.75), strict=True):
        _, far_HW = faulty(image_HWC, mask_HW, "off_centre", grade, "a")
        middle = np.array([places.mean() for places in np.nonzero(far_HW)]) / 256 - 1
        assert np.hypot(*middle) == pytest.approx(distance, abs=0.02)


def test_a_lesion_from_far_lies_in_skin_alone() -> None:
    """Mirrored, the photograph's corners and stickers would be things in the middle."""
    image_HWC, mask_HW = capture(side_px=256)
    littered_HWC = image_HWC.copy()
    littered_HWC[:30, :30] = 0
    littered_HWC[-40:, -40:] = (20, 90, 200)
    small_HWC, small_HW = faulty(littered_HWC, mask_HW, "too_small", 3, "a")
    far_HW = cv2.dilate(small_HW.astype(np.uint8), np.ones((25, 25))) == 0
    skin = np.median(image_HWC[~mask_HW], axis=0)
    assert np.abs(small_HWC[far_HW] - skin).max() < 60
    assert np.abs(small_HWC[small_HW].mean(axis=0) - skin).max() > 10


def test_skin_is_made_with_the_colour_and_grain_of_the_photograph_s() -> None:
    rng = np.random.default_rng(0)
    grain_HWC = 160 + rng.normal(0, 9, (128, 160, 3)) + (20, 0, -20)
    image_HWC = grain_HWC.round().astype(np.uint8)
    near_HW = np.zeros((128, 160), np.bool_)
    near_HW[40:80, 50:90] = True
    image_HWC[near_HW] = (60, 30, 20)
    made_HWC = skin_around(image_HWC, near_HW, rng)
    assert made_HWC.shape == image_HWC.shape
    np.testing.assert_allclose(made_HWC.mean(axis=(0, 1)), (180, 160, 140), atol=1.5)
    np.testing.assert_allclose(made_HWC.std(axis=(0, 1)), 9, rtol=0.15)


@pytest.mark.parametrize("level", [0, 140])
def test_a_photograph_without_skin_to_be_seen_is_filled_all_the_same(level: int) -> None:
    image_HWC = np.full((40, 60, 3), level, np.uint8)
    made_HWC = skin_around(image_HWC, np.ones((40, 60), np.bool_), np.random.default_rng(0))
    np.testing.assert_array_equal(made_HWC, image_HWC)


def test_scenes_differ_and_have_a_lesion() -> None:
    one, two = (scene(number, 128) for number in range(2))
    assert (one[0] != two[0]).any()
    assert 0.01 < one[1].mean() < 0.6
