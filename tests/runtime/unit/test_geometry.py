"""How pictures are cut, turned and mirrored: pixels move and nothing else happens to them."""

import numpy as np
import pytest

from ckd.runtime.unit.geometry import Geometry, QuarterTurns

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_nothing_to_do_gives_the_picture_itself() -> None:
    assert Geometry().applied(IMAGE) is IMAGE
    assert not Geometry()


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_a_picture_is_turned_clockwise_then_mirrored_then_flipped(
    rotate_deg: QuarterTurns, mirror: bool, flip: bool
) -> None:
    geometry = Geometry(rotate_deg=rotate_deg, mirror=mirror, flip=flip)
    expected = np.rot90(IMAGE, -rotate_deg // 90)
    expected = expected[:, ::-1] if mirror else expected
    expected = expected[::-1] if flip else expected
    done = geometry.applied(IMAGE)
    np.testing.assert_array_equal(done, expected)
    assert done.flags.c_contiguous
    assert geometry.size_hw(20, 30) == done.shape[:2]


def test_the_square_around_the_round_field_is_kept() -> None:
    done = Geometry(field_px=(16, 10, 12)).applied(IMAGE)
    np.testing.assert_array_equal(done, IMAGE[4:16, 10:22])
    wide = Geometry(field_px=(14, 10, 26), rotate_deg=90)  # the picture is lower than the field
    np.testing.assert_array_equal(wide.applied(IMAGE), np.rot90(IMAGE[:, 1:27], -1))
    assert wide.size_hw(20, 30) == (26, 20)
