"""What the coach measures: each score moves by its own fault, and not by what looks like it."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.capture.rig import LIMITS, blurred, capture, noisy, scores

from ckd.capture import CHECKS, hints_of
from ckd.data.captures import FAULTS, GRADES, faulty
from ckd.picture.resize import network_image


def test_a_capture_without_a_fault_passes() -> None:
    assert hints_of(scores(*capture()), LIMITS) == set()


@pytest.mark.parametrize("hint", FAULTS)
def test_each_strong_fault_is_caught_as_such(hint: str) -> None:
    damaged_HWC, mask_HW = faulty(*capture(), hint, GRADES[-1], "test")
    found = hints_of(scores(damaged_HWC, mask_HW), LIMITS)
    assert hint in found
    assert len(found) <= 2  # a lesion off centre may be small, glare may clip


@pytest.mark.parametrize("hint", FAULTS)
def test_scores_grow_worse_with_the_grade(hint: str) -> None:
    name, check = next((name, one) for name, one in CHECKS.items() if one.hint == hint)
    values = [scores(*capture())[name]]
    for grade in GRADES[: 2 if hint in ("out_of_focus", "motion") else 3]:
        values.append(scores(*faulty(*capture(), hint, grade, "test"))[name])
    assert values == sorted(values, reverse=check.is_least)
    assert len(set(values)) == len(values)


# Focus


def laplacian_variance(image_HWC: NDArray[np.uint8]) -> float:
    return float(cv2.Laplacian(image_HWC[..., 1], cv2.CV_64F).var())


@pytest.mark.parametrize("grain", [3, 6, 12, 40])
def test_noise_does_not_make_a_blurred_picture_sharp(grain: float) -> None:
    """As it does by the variance of the Laplacian, the usual measure."""
    image_HWC, mask_HW = capture()
    blur_HWC = blurred(image_HWC, 10)
    grainy_HWC = noisy(blur_HWC, grain)
    if grain > 5:
        assert laplacian_variance(grainy_HWC) > laplacian_variance(image_HWC)
    for bad_HWC in (blur_HWC, grainy_HWC):
        assert "out_of_focus" in hints_of(scores(bad_HWC, mask_HW), LIMITS)


@pytest.mark.parametrize("grain", [1, 5, 10, 40])
def test_noise_alone_is_neither_sharp_nor_moving(grain: float) -> None:
    """Strong noise looks like hair too, which is filled, and what is filled like structure."""
    flat_HWC, mask_HW = np.full((1080, 1080, 3), (190, 150, 130), np.uint8), capture()[1]
    found = hints_of(scores(noisy(flat_HWC, grain), mask_HW), LIMITS)
    assert "out_of_focus" in found
    assert "motion" not in found


def test_noise_alone_is_no_blur() -> None:
    image_HWC, mask_HW = capture()
    assert hints_of(scores(noisy(image_HWC, 8), mask_HW), LIMITS) == set()


def test_half_the_contrast_is_as_sharp() -> None:
    image_HWC, mask_HW = capture()
    dull_HWC = (128 + (image_HWC.astype(float) - 128) / 2).round().astype(np.uint8)
    focus, dull = (scores(one, mask_HW)["focus"] for one in (image_HWC, dull_HWC))
    assert dull == pytest.approx(focus, abs=0.3)


def test_blur_that_a_network_cannot_see_is_seen() -> None:
    image_HWC, mask_HW = capture()
    soft_HWC = blurred(image_HWC, 4)
    seen = [network_image(one, 192).astype(int) for one in (image_HWC, soft_HWC)]
    assert np.abs(seen[0] - seen[1]).mean() < 1.5  # of 255
    assert scores(soft_HWC, mask_HW)["focus"] < scores(image_HWC, mask_HW)["focus"] - 1


def test_the_scale_of_a_unit_says_what_is_fine() -> None:
    """The same skin from twice as near has the same focus, where the unit says so."""
    image_HWC, mask_HW = capture()
    half_HWC = np.asarray(
        cv2.resize(image_HWC, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8
    )
    half_HW = cv2.resize(mask_HW.astype(np.uint8), half_HWC.shape[1::-1]) > 0
    near, far = scores(image_HWC, mask_HW, 0.0085), scores(half_HWC, half_HW, 0.017)
    assert far["focus"] == pytest.approx(near["focus"], abs=0.3)


# Motion


@pytest.mark.parametrize("turn_deg", [0, 30, 90, 135])
def test_motion_is_seen_along_any_direction(turn_deg: float) -> None:
    image_HWC, mask_HW = capture()
    line = np.zeros((49, 49), np.float32)
    line[24] = 1
    kernel = cv2.warpAffine(line, cv2.getRotationMatrix2D((24, 24), turn_deg, 1), (49, 49))
    moved_HWC = np.asarray(cv2.filter2D(image_HWC, -1, kernel / kernel.sum()), np.uint8)
    assert hints_of(scores(moved_HWC, mask_HW), LIMITS) == {"motion"}


def test_hair_that_is_combed_one_way_is_no_motion() -> None:
    image_HWC, mask_HW = capture()
    hairy_HWC = image_HWC.copy()
    for number in range(40):
        start, end = (27 * number, 0), (27 * number + 90, 1079)
        cv2.line(hairy_HWC, start, end, (40, 30, 25), 4, cv2.LINE_AA)
    assert "motion" not in hints_of(scores(hairy_HWC, mask_HW), LIMITS)


# Light


def skin(level: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Skin of one tone with a darker spot, and some texture."""
    image_HWC = np.full((480, 640, 3), level, np.float32)
    mask_HW = np.zeros((480, 640), np.uint8)
    cv2.circle(mask_HW, (320, 240), 90, 1, cv2.FILLED)
    image_HWC[mask_HW > 0] *= 0.6
    return noisy(image_HWC.astype(np.uint8), 4), mask_HW > 0


def test_dark_skin_is_not_underexposed() -> None:
    """sRGB of the darkest skin in light that makes white white: a reflectance of a tenth."""
    assert "under_exposed" not in hints_of(scores(*skin((92, 62, 48))), LIMITS)


def test_a_round_field_of_view_is_neither_dark_nor_a_border() -> None:
    image_HWC, mask_HW = capture()
    disc_HW = np.zeros(mask_HW.shape, np.uint8)
    cv2.circle(disc_HW, (540, 540), 520, 1, cv2.FILLED)
    round_HWC = image_HWC * disc_HW[..., None]
    assert hints_of(scores(round_HWC, mask_HW & (disc_HW > 0)), LIMITS) == set()
    beyond_HW = np.zeros(mask_HW.shape, np.uint8)
    cv2.circle(beyond_HW, (540, 60), 200, 1, cv2.FILLED)  # the lesion ends where the field ends
    assert "cut_off" in hints_of(scores(round_HWC, (beyond_HW & disc_HW) > 0), LIMITS)


def test_without_a_lesion_nothing_is_said_of_where_it_lies() -> None:
    image_HWC, mask_HW = capture()
    found = scores(image_HWC, np.zeros_like(mask_HW))
    assert set(found) == set(CHECKS) - {"cut_off", "width", "off_centre"}


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 300), (3000, 200)])
def test_pictures_of_any_size_are_judged(height: int, width: int) -> None:
    image_HWC = np.asarray(cv2.resize(capture()[0], (width, height)), np.uint8)
    mask_HW = np.zeros((height, width), np.bool_)
    mask_HW[height // 3 : height // 2, width // 3 : width // 2] = True
    assert all(np.isfinite(list(scores(image_HWC, mask_HW).values())))


def test_a_picture_of_one_colour_is_out_of_focus_and_no_error() -> None:
    image_HWC = np.full((300, 400, 3), 128, np.uint8)
    found = scores(image_HWC, np.zeros((300, 400), np.bool_))
    assert all(np.isfinite(list(found.values())))
    assert "out_of_focus" in hints_of(found, LIMITS)
