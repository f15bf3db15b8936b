"""The colour matrix from rendered charts whose tint is known, and pictures that hold no chart."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rendered_targets import TINT, drawn_chart

from ckd.contract.errors import InputError
from ckd.runtime.unit import fit_colour
from ckd.runtime.unit.colour import ColourMatrix, light_of
from ckd.runtime.unit.lab import delta_e_2000, lab_of_light, light_of_lab
from ckd.runtime.unit.patches import LAB_N3, LIGHT_N3

#: Photographs of 320 by 240 pixels, but for the large one.
CHARTS: dict[str, dict[str, Any]] = {
    "turned": {"turned_deg": 31.0},
    "upside down, slanted": {"turned_deg": 180.0, "slant": 3e-4},
    "on its side, large": {"turned_deg": 96.0, "patch_px": 105.0, "size_hw": (740, 960)},
    "noisy": {"turned_deg": -12.0, "noise": 6.0, "exposure": 0.9},
    "dark": {"turned_deg": 3.0, "exposure": 0.5},
}


def chart(light_N3: NDArray[np.float64] = LIGHT_N3, **settings: Any) -> NDArray[np.uint8]:
    return drawn_chart(light_N3, **{"patch_px": 28.0, "size_hw": (240, 320), **settings})


@pytest.mark.parametrize("name", CHARTS)
def test_the_tint_of_a_chart_is_found_and_taken_away(name: str) -> None:
    settings = CHARTS[name]
    fit = fit_colour(chart(tint=TINT, **settings), "photo")
    truth = np.linalg.inv(TINT) / settings.get("exposure", 1.0)
    np.testing.assert_allclose(fit.matrix, truth, atol=0.02)
    assert fit.before.mean > 6
    assert fit.after.mean < 0.8
    assert (fit.after.largest < 4, fit.after.patch) == (True, "cyan")  # no screen can show it
    assert fit.notes == ()


def test_a_chart_without_a_tint_gives_no_change() -> None:
    fit = fit_colour(chart(), "photo")
    np.testing.assert_allclose(fit.matrix, np.eye(3), atol=0.01)
    assert fit.toml.startswith("[colour]\nmatrix = [\n    [")


def test_a_mirrored_chart_serves_and_is_told() -> None:
    fit = fit_colour(chart(tint=TINT, mirrored=True, turned_deg=40.0), "photo")
    np.testing.assert_allclose(fit.matrix, np.linalg.inv(TINT), atol=0.02)
    assert fit.notes == ("the chart is mirrored: mirror or flip in [picture] puts that right",)


def test_an_overexposed_chart_is_refused_and_a_little_of_it_is_left_out() -> None:
    fit = fit_colour(chart(exposure=1.3), "photo")
    assert fit.notes[0].endswith("patches are at the sensor's limit and left out")
    np.testing.assert_allclose(fit.matrix, np.eye(3) / 1.3, atol=0.02)
    with pytest.raises(InputError, match=r"photo: over-exposed: \d+ of 24 patches"):
        fit_colour(chart(exposure=2.2), "photo")
    with pytest.raises(InputError, match="over-exposed"):  # whose colours fit nothing, too
        fit_colour(chart(exposure=3.5), "photo")


def test_squares_of_other_colours_are_no_chart() -> None:
    others = np.random.default_rng(5).uniform(0.02, 0.9, (24, 3))
    with pytest.raises(InputError, match=r"no colour chart found: squares in a grid"):
        fit_colour(chart(others), "photo")


def test_a_picture_without_squares_is_refused() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    for image_HWC in (noise, np.full((64, 64, 3), 128, np.uint8)):
        with pytest.raises(InputError, match=r"photo: no colour chart found \(\d+ even squares"):
            fit_colour(image_HWC, "photo")


def test_half_a_chart_is_refused() -> None:
    whole = chart()
    with pytest.raises(InputError, match="no colour chart found"):
        fit_colour(np.ascontiguousarray(whole[:, :165]), "photo")


def test_a_matrix_takes_the_tint_of_a_picture_away() -> None:
    plain = chart(0.8 * LIGHT_N3)
    tinted = chart(0.8 * LIGHT_N3, tint=TINT)
    corrected = ColourMatrix(np.linalg.inv(TINT)).applied(tinted)
    off = np.abs(corrected.astype(int) - plain)
    assert np.mean(off) < 0.6
    assert np.percentile(off, 99) <= 4
    np.testing.assert_array_equal(ColourMatrix(np.eye(3)).applied(plain), plain)


def test_colours_are_those_of_scikit_image() -> None:
    color = pytest.importorskip("skimage.color")
    codes = np.random.default_rng(4).uniform(0, 255, (40, 3))
    ours = lab_of_light(light_of(codes))
    theirs = color.rgb2lab(codes[None] / 255, illuminant="D65")[0]
    # Ours are seen under D50: greys agree, and lightness nearly does.
    np.testing.assert_allclose(light_of_lab(ours), light_of(codes), atol=1e-9)
    assert np.abs(ours[:, 0] - theirs[:, 0]).max() < 4
    away = delta_e_2000(LAB_N3, LAB_N3[::-1])
    np.testing.assert_allclose(away, color.deltaE_ciede2000(LAB_N3, LAB_N3[::-1]), atol=1e-9)
