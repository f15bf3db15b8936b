"""Masks are read as photographs are: upright, by the meaning of their samples, or refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import InputError
from ckd.data.masks import read_mask
from ckd.picture.decode import read_rgb

CASES = Path(__file__).parents[3] / "shared/cases"
MASK_HW = np.zeros((20, 30), bool)
MASK_HW[2:9, 3:21] = True
GREY = Image.fromarray(MASK_HW.astype(np.uint8) * 255)


def layers(colour: NDArray[np.uint8] | int, alpha: NDArray[np.uint8] | int) -> Image.Image:
    """A picture of one grey value or of a value for each pixel, and how opaque it is."""
    layers_HWC = np.zeros((*MASK_HW.shape, 4), np.uint8)
    for channel, values in enumerate((colour, colour, colour, alpha)):
        layers_HWC[..., channel] = values
    return Image.fromarray(layers_HWC)


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(MASK_HW.astype(np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


WHITE_HW = MASK_HW.astype(np.uint8) * 255
SAME = {
    "grey.png": GREY,
    "grey.jpg": GREY,
    "grey.bmp": GREY,
    "grey.webp": GREY.convert("RGB"),
    "one_bit.png": GREY.convert("1"),
    "one_bit.tif": GREY.convert("1"),
    "rgb.png": GREY.convert("RGB"),
    "deep.png": Image.fromarray(MASK_HW.astype(np.uint16) * 65535),
    "deep.tif": Image.fromarray(MASK_HW.astype(np.uint16) * 65535),
    "float.tif": Image.fromarray(MASK_HW.astype(np.float32)),
    "palette.png": palette((0, 0, 0), (255, 255, 255)),
    "palette_upside_down.png": Image.fromarray((~MASK_HW).astype(np.uint8), "P"),
    "opaque.png": layers(WHITE_HW, 255),
    "cut_out.png": layers(WHITE_HW, WHITE_HW),
    "white_cut_out.png": layers(255, WHITE_HW),
    "white_cut_out.tif": layers(255, WHITE_HW),
}
SAME["palette_upside_down.png"].putpalette([255, 255, 255, 0, 0, 0])


@pytest.mark.parametrize("name", SAME)
def test_masks_of_every_kind_are_taken_by_their_meaning(tmp_path: Path, name: str) -> None:
    SAME[name].save(tmp_path / name, lossless=name.endswith("webp"))
    mask_HW = read_mask(tmp_path / name, (20, 30, 3))
    if name.endswith("jpg"):
        assert (mask_HW != MASK_HW).mean() < 0.01
    else:
        assert np.array_equal(mask_HW, MASK_HW)


REFUSED = {
    "coloured.png": (palette((0, 0, 0), (128, 0, 0)), "is in colours, expected a drawing in grey"),
    "black_cut_out.png": (layers(0, WHITE_HW), "only its transparency shows a shape; save it as"),
    "ones.png": (Image.fromarray(MASK_HW.astype(np.uint8)), "has no pixel above 1, so nothing"),
    "deep_255.png": (Image.fromarray(MASK_HW.astype(np.uint16) * 255), "values up to 255, which"),
    "turned.png": (GREY.transpose(Image.Transpose.ROTATE_90), "20x30 pixels, its image has 30x20"),
    "film.gif": (GREY, "film.gif: is a GIF picture; expected JPEG, PNG"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mask_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    image, message = REFUSED[name]
    image.save(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read_mask(tmp_path / name, (20, 30, 3))
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused_and_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: is a pipe or device"):
        read_mask(tmp_path / "pipe.png")
    Image.new("I;16", (30, 20)).save(tmp_path / "empty.png")
    assert not read_mask(tmp_path / "empty.png").any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_photograph_is(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo_HWC = np.where(MASK_HW[..., None], (110, 70, 60), (225, 180, 160)).astype(np.uint8)
    Image.fromarray(photo_HWC).save(tmp_path / "photo.png", exif=exif)
    for name, mask in (("plain.png", GREY), ("cut_out.png", layers(255, WHITE_HW))):
        mask.save(tmp_path / name, exif=exif)
        image_HWC = read_rgb(tmp_path / "photo.png")
        mask_HW = read_mask(tmp_path / name, image_HWC.shape)
        assert np.array_equal(mask_HW, image_HWC[..., 0] == 110), name


def test_the_mask_of_the_turned_pair_lies_on_its_lesion() -> None:
    if not CASES.is_dir():
        pytest.skip("needs the cases beside the repository")
    image_HWC = read_rgb(CASES / "exif_pair/photo.jpg")
    mask_HW = read_mask(CASES / "exif_pair/mask.png", image_HWC.shape)
    brightness_HW = image_HWC.mean(axis=2)
    contrast = brightness_HW[~mask_HW].mean() - brightness_HW[mask_HW].mean()
    turned_HW = mask_HW[::-1, ::-1]
    turned = brightness_HW[~turned_HW].mean() - brightness_HW[turned_HW].mean()
    assert contrast > turned + 5
    assert np.abs(image_HWC - read_rgb(CASES / "plain.png").astype(float)).mean() < 5
