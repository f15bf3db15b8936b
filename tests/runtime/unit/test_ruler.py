"""The scale of rendered rulers whose truth is known, and pictures that hold none."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rendered_targets import TINT, drawn_ruler

from ckd.contract.errors import InputError
from ckd.runtime.unit import measure_scale

#: Pixels for a millimetre, in photographs of 320 by 240 pixels but for the large one.
RULERS: dict[str, tuple[float, dict[str, Any]]] = {
    "turned": (9.1, {"turned_deg": 23.0}),
    "upside down, tinted": (7.7, {"turned_deg": 171.0, "tint": TINT}),
    "noisy": (8.2, {"turned_deg": -37.0, "noise": 8.0}),
    "upright, out of focus": (9.9, {"turned_deg": 88.0, "blur_px": 1.2, "noise": 2.0}),
    "bright on dark": (8.1, {"turned_deg": 61.0, "bright": True}),
    "wide apart, large": (61.0, {"turned_deg": 12.0, "size_hw": (500, 800)}),
    "all ticks alike": (7.0, {"turned_deg": -8.0, "longer": ()}),
    "long ticks three times as long": (7.3, {"longer": ((5, 9.0), (10, 9.0))}),
}


def ruler(px_per_mm: float, **settings: Any) -> NDArray[np.uint8]:
    return drawn_ruler(px_per_mm, **{"size_hw": (240, 320), **settings})


@pytest.mark.parametrize("name", RULERS)
def test_the_scale_of_a_ruler_is_found_within_its_uncertainty(name: str) -> None:
    px_per_mm, settings = RULERS[name]
    scale = measure_scale(ruler(px_per_mm, **settings), 1.0, "photo")
    assert abs(scale.mm_per_px - 1 / px_per_mm) <= scale.error_mm_per_px
    assert scale.error_mm_per_px * px_per_mm < 0.005


def test_longer_ticks_are_told_and_not_taken_for_the_next() -> None:
    scale = measure_scale(ruler(7.3), 1.0, "photo")
    assert 5 in scale.longer
    assert "ticks, 7.3" in scale.summary
    assert scale.toml.startswith("[picture]\nmm_per_px = 0.13")


def test_half_millimetres_are_told_apart_from_whole_ones() -> None:
    photo = ruler(16.0, tick_mm=0.5, longer=((2, 3.0), (10, 5.0)), turned_deg=4.0)
    with pytest.raises(InputError, match=r"every second tick is longer.*--tick-mm 0\.5"):
        measure_scale(photo, 1.0, "photo")
    scale = measure_scale(photo, 0.5, "photo")
    assert scale.mm_per_px * 16 == pytest.approx(1, abs=0.003)
    assert 2 in scale.longer


def test_a_distance_that_no_lens_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"2\.19e\+03 mm wide, expected 2 to 300"):
        measure_scale(ruler(7.3), 50.0, "photo")


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)


def skin() -> NDArray[np.uint8]:
    grain = np.random.default_rng(2).normal(0, 1, (240, 320))
    texture = cv2.GaussianBlur(grain, (0, 0), 3) * 40 + cv2.GaussianBlur(grain, (0, 0), 12) * 200
    colour = np.array([190.0, 150.0, 130.0]) + texture[..., None]
    colour[70:160, 120:210] -= 70  # a lesion
    return np.asarray(np.clip(colour, 0, 255), np.uint8)


def hairs() -> NDArray[np.uint8]:
    image_HWC, drawn = skin(), np.random.default_rng(3)
    for _ in range(25):
        start, end = drawn.integers(0, 320, (2, 2))
        cv2.line(image_HWC, start.tolist(), end.tolist(), (40, 30, 25), 2, cv2.LINE_AA)
    return image_HWC


@pytest.mark.parametrize("picture", [noise, skin, hairs], ids=lambda draw: draw.__name__)
def test_a_picture_without_a_ruler_is_refused(picture: Any) -> None:
    with pytest.raises(InputError, match=r"^photo: no ruler found: expected 8 ticks or more"):
        measure_scale(picture(), 1.0, "photo")


def test_one_colour_holds_no_ruler() -> None:
    with pytest.raises(InputError, match="no ruler found"):
        measure_scale(np.full((64, 64, 3), 128, np.uint8), 1.0, "photo")


def test_a_ruler_that_lies_askew_to_the_camera_is_refused() -> None:
    straight = ruler(8.0)
    tilt = np.array([[1, 0, 0], [0, 1, 0], [4e-4, 0, 1]])
    photo = np.asarray(cv2.warpPerspective(straight, tilt, (290, 220)), np.uint8)
    with pytest.raises(InputError, match=r"changes by \d+ % from end to end; lay the ruler flat"):
        measure_scale(photo, 1.0, "photo")
