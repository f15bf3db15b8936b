"""Files that were misread once: all but one show one photograph, and are read as that.

They lie outside the repository; their relatives, made by code, are in the other files here.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture.decode import read_picture, read_rgb

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cases() -> Path:
    folder = Path(os.environ.get("CKD_CASES", ROOT.parent / "shared/cases"))
    if not folder.is_dir():
        pytest.skip("needs the files that were misread once; name their folder in CKD_CASES")
    return folder


@pytest.mark.parametrize("name", ["rgb16_planar.tif", "rgb_float.tif"])
def test_colours_are_those_of_the_plain_photograph(cases: Path, name: str) -> None:
    seen = read_picture(cases / name)
    np.testing.assert_array_equal(seen.image_HWC, read_rgb(cases / "plain.png"))
    assert seen.notes == ()


@pytest.mark.parametrize("name", ["grey_float01.tif", "grey_uint32.tif", "grey16_miniswhite.tif"])
def test_grey_is_that_of_the_plain_photograph(cases: Path, name: str) -> None:
    """They hold the mean of the channels; one step is the rounding of each."""
    seen_HWC = read_rgb(cases / name).astype(int)
    grey_HW = read_rgb(cases / "plain.png").mean(axis=2)
    assert np.abs(seen_HWC - grey_HW[..., None]).max() <= 1


def test_adobe_rgb_becomes_srgb(cases: Path) -> None:
    """By the definition of Adobe RGB (1998), whose white is that of sRGB."""
    seen = read_picture(cases / "adobe_rgb.png")
    stored_HWC = np.asarray(Image.open(cases / "adobe_rgb.png").convert("RGB")) / 255.0
    # Annex C of the encoding's definition, and IEC 61966-2-1: to XYZ of D65, and from it.
    to_xyz = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    to_rgb = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    linear_HWC = np.clip(stored_HWC ** (563 / 256) @ np.array(to_xyz).T @ np.array(to_rgb).T, 0, 1)
    curve_HWC = np.where(
        linear_HWC <= 0.0031308, 12.92 * linear_HWC, 1.055 * linear_HWC ** (1 / 2.4) - 0.055
    )
    assert np.abs(seen.image_HWC - 255 * curve_HWC).max() <= 3
    assert np.abs(seen.image_HWC - 255 * stored_HWC).max() > 10


def test_a_cut_out_lies_on_white(cases: Path) -> None:
    seen = read_picture(cases / "alpha_cutout.png")
    alpha_HW = np.asarray(Image.open(cases / "alpha_cutout.png"))[..., 3]
    assert (seen.image_HWC[alpha_HW == 0] == 255).all()
    plain_HWC = read_rgb(cases / "plain.png")
    np.testing.assert_array_equal(seen.image_HWC[alpha_HW == 255], plain_HWC[alpha_HW == 255])
    assert seen.notes == ("transparent parts are shown on white",)


def test_a_damaged_file_and_a_video_are_refused(cases: Path) -> None:
    with pytest.raises(InputError, match=r"corrupt_middle\.jpg: damaged or cut off"):
        read_rgb(cases / "corrupt_middle.jpg")
    with pytest.raises(InputError, match=r"variable_rate\.mkv: is a video"):
        read_rgb(cases / "variable_rate.mkv")


def test_black_is_read_as_black(cases: Path) -> None:
    """That there is nothing to diagnose in it is not decided where pictures are read."""
    assert read_rgb(cases / "black.png").max() == 0
