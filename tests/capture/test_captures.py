"""Captures with known faults: what they do to picture and mask.

Suffixes: H rows, W columns.
"""

import numpy as np
import pytest
from tests.capture.rig import capture

from ckd.data.captures import FAULTS, GRADES, MEANINGS, faulty, scene
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


def test_scenes_differ_and_have_a_lesion() -> None:
    one, two = (scene(number, 128) for number in range(2))
    assert (one[0] != two[0]).any()
    assert 0.01 < one[1].mean() < 0.6
