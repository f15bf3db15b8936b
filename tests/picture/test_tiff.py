"""TIFF by its tags: the same picture, however its samples are stored.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from tifffile import TiffFile, imwrite

from ckd.contract.errors import InputError
from ckd.picture.decode import read_picture, read_rgb

HEIGHT, WIDTH = 37, 50
#: Sample type -> the value of white, in steps of 8-bit white.
TYPES: dict[DTypeLike, float] = {
    np.uint8: 1, np.uint16: 2**8, np.uint32: 2**24, np.float16: 1 / 255, np.float32: 1 / 255,
    np.float64: 1 / 255,
}  # fmt: skip


def picture() -> NDArray[np.uint8]:
    """Every row and column differs, so that nothing can be moved unnoticed."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([5 * x, 6 * y, 3 * x + y], axis=2).astype(np.uint8)


def grey() -> NDArray[np.uint8]:
    return picture()[..., 0]


def stored(image: NDArray[np.uint8], dtype: DTypeLike) -> NDArray[Any]:
    return (image.astype(np.float64) * TYPES[dtype]).astype(dtype)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.tif"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_are_read_at_any_depth_in_planes_too(
    path: Path, dtype: DTypeLike, compression: str | None
) -> None:
    image = stored(picture(), dtype)
    for planar, order in (("contig", (0, 1, 2)), ("separate", (2, 0, 1))):
        imwrite(path, image.transpose(order), photometric="rgb", planarconfig=planar,
                compression=compression, rowsperstrip=16)  # fmt: skip
        np.testing.assert_array_equal(read_rgb(path), picture())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_grey_is_read_at_any_depth_and_is_no_negative(
    path: Path, dtype: DTypeLike, byteorder: Literal["<", ">"], tile: tuple[int, int] | None
) -> None:
    image = stored(grey(), dtype)
    for photometric, expected_HW in (("minisblack", grey()), ("miniswhite", 255 - grey())):
        imwrite(path, image, photometric=photometric, byteorder=byteorder, tile=tile)
        np.testing.assert_array_equal(read_rgb(path), expected_HW[..., None].repeat(3, 2))


FORMS: dict[str, Callable[[Image.Image], tuple[Image.Image, dict[str, Any]]]] = {
    "LZW": lambda rgb: (rgb, {"compression": "tiff_lzw"}),
    "LZW with differences": lambda rgb: (rgb, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
    "Deflate": lambda rgb: (rgb, {"compression": "tiff_adobe_deflate"}),
    "PackBits": lambda rgb: (rgb, {"compression": "packbits"}),
    "1 bit": lambda rgb: (rgb.convert("1"), {}),
    "1 bit, fax": lambda rgb: (rgb.convert("1"), {"compression": "group4"}),
    "palette": lambda rgb: (rgb.quantize(32), {}),
    "palette, LZW": lambda rgb: (rgb.quantize(32), {"compression": "tiff_lzw"}),
    "CMYK": lambda rgb: (rgb.convert("CMYK"), {}),
    "opaque": lambda rgb: (rgb.convert("RGBA"), {}),
    "deep grey, LZW": lambda rgb: (Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16)
                                                   * 256), {"compression": "tiff_lzw"}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_pillow_writes_is_read_alike(path: Path, form: str) -> None:
    image, options = FORMS[form](Image.fromarray(picture()))
    image.save(path, **options)
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    np.testing.assert_array_equal(read_rgb(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_several_samples_in_a_byte_are_read(
    path: Path, bits: int, photometric: Literal["minisblack", "miniswhite"]
) -> None:
    bytes_HW = np.random.default_rng(0).integers(0, 256, (32, 24), np.uint8)
    imwrite(path, bytes_HW, photometric=photometric)
    with TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        places = [tags[name].valueoffset for name in ("ImageWidth", "BitsPerSample")]
    content = bytearray(path.read_bytes())
    for at, value in zip(places, (24 * 8 // bits, bits), strict=True):
        content[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)
    bits_HWN = np.unpackbits(bytes_HW, axis=1).reshape(32, -1, bits)
    values_HW = (bits_HWN << np.arange(bits)[::-1]).sum(axis=2) * 255 // (2**bits - 1)
    expected_HW = values_HW if photometric == "minisblack" else 255 - values_HW
    np.testing.assert_array_equal(read_rgb(path)[..., 0], expected_HW)
    path.write_bytes(content[:-200])
    with pytest.raises(InputError, match=r"image\.tif: damaged or cut off"):
        read_rgb(path)


@pytest.mark.parametrize(("kind", "code"), [("ASSOCALPHA", 1), ("UNASSALPHA", 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_transparent_parts_are_shown_on_white(
    path: Path, kind: str, code: int, dtype: DTypeLike
) -> None:
    alpha_HW1 = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha_HW1[:10] = 51  # a fifth
    share = alpha_HW1 / 255.0
    colours = picture() * (share if kind == "ASSOCALPHA" else 1.0)
    layers = np.concatenate([colours.round().astype(np.uint8), alpha_HW1], axis=2)
    imwrite(path, stored(layers, dtype), photometric="rgb", extrasamples=[kind])
    expected = picture() * share + 255 * (1 - share)
    # Colours that were stored multiplied by a fifth were rounded to fifths of a step.
    np.testing.assert_allclose(read_rgb(path), expected, atol=1.6)
    assert read_picture(path).notes == ("transparent parts are shown on white",)


def test_a_fourth_channel_that_is_not_told_is_alpha(path: Path) -> None:
    """As libtiff, and with it most viewers, take it."""
    alpha_HW1 = np.full((HEIGHT, WIDTH, 1), 51, np.uint8)
    imwrite(path, np.concatenate([picture(), alpha_HW1], axis=2), photometric="rgb")
    with TiffFile(path) as tiff:
        tag_at = tiff.pages.first.tags["ExtraSamples"].offset
    content = bytearray(path.read_bytes())
    content[tag_at : tag_at + 2] = (65000).to_bytes(2, "little")  # a tag that means nothing
    path.write_bytes(content)
    np.testing.assert_allclose(read_rgb(path), 204 + picture() / 5, atol=1)


def test_channels_of_unknown_meaning_are_passed_over_and_said(path: Path) -> None:
    layers = np.concatenate([picture(), picture()[..., :1]], axis=2)
    imwrite(path, layers, photometric="rgb", extrasamples=["UNSPECIFIED"])
    seen = read_picture(path)
    np.testing.assert_array_equal(seen.image_HWC, picture())
    assert seen.notes == ("channels of unknown meaning were passed over",)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_it_is_turned_upright(path: Path, compression: str | None) -> None:
    turned = np.ascontiguousarray(np.rot90(picture(), 1))
    Image.fromarray(turned).save(path, compression=compression, tiffinfo={274: 6})
    np.testing.assert_array_equal(read_rgb(path), picture())


def test_the_first_page_is_read_and_said(path: Path) -> None:
    Image.fromarray(picture()).save(path, save_all=True, append_images=[Image.new("RGB", (20, 20))])
    seen = read_picture(path)
    np.testing.assert_array_equal(seen.image_HWC, picture())
    assert seen.notes == ("it holds several pictures: the first was read",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (grey().astype(np.float32) / 255 * 1.2, "which does not tell what is white"),
        (grey().astype(np.float32) - 1, "which does not tell what is white"),
        (grey().astype(np.float32) * 1e6, "which does not tell what is white"),
        (np.full((HEIGHT, WIDTH), np.nan, np.float32), "not finite"),
        (grey().astype(np.uint32), "which does not tell what is white"),
        (grey().astype(np.int16) * 100, "which does not tell what is white"),
        (grey().astype(np.int32) * 2**20, "which does not tell what is white"),
        (grey().astype(np.complex64), "complex"),
        (grey().astype(np.float32) * 16, "which does not tell what is white"),
        (grey().astype(np.int32) * 16, "which does not tell what is white"),
    ],
)
def test_samples_without_a_known_white_are_refused(
    path: Path, values: NDArray[Any], expected: str
) -> None:
    imwrite(path, values, photometric="minisblack")
    with pytest.raises(InputError, match=rf"image\.tif: .*{expected}.*; save it with 8 or 16 bits"):
        read_rgb(path)


def test_what_cannot_be_shown_right_is_named(path: Path) -> None:
    imwrite(path, picture(), photometric="cielab")
    with pytest.raises(InputError, match=r"colours \(CIELab\) that are not read; save it as RGB"):
        read_rgb(path)
    Image.fromarray(picture()).convert("F").save(path, compression="tiff_lzw")
    with pytest.raises(InputError, match="32-bit samples with LZW compression is not read; save"):
        read_rgb(path)
    imwrite(path, picture(), photometric="rgb")
    with TiffFile(path) as tiff:
        at = tiff.pages.first.tags["BitsPerSample"].valueoffset
    content = bytearray(path.read_bytes())
    content[at : at + 6] = 3 * (4).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="TIFF of 4-bit samples with NONE compression is not read"):
        read_rgb(path)
    imwrite(path, picture(), photometric="rgb", subfiletype=1)
    with pytest.raises(InputError, match="first page is a reduced preview, as in cameras' raw"):
        read_rgb(path)
    imwrite(path, picture(), photometric="rgb", extratags=[(50706, 1, 4, b"\1\4\0\0", True)])
    with pytest.raises(InputError, match="is a camera's raw file; save a developed JPEG"):
        read_rgb(path)
    imwrite(path, np.stack([grey(), grey()]), photometric="minisblack", imagej=True)
    with pytest.raises(InputError, match="stack of a microscopy program"):
        read_rgb(path)


def rewritten(path: Path, tag: int, *, code: int, value: int = 0) -> None:
    """Give a tag of a little-endian TIFF another code, and a value."""
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHI", tag, 3, 1))
    content[at : at + 10] = struct.pack("<HHIH", code, 3, 1, value)
    path.write_bytes(content)


def test_colours_that_no_decoder_shows_right_are_named(path: Path) -> None:
    """What is left to Pillow is what it reads, and by its tags."""
    Image.fromarray(picture()).save(path, compression="tiff_lzw")
    good = path.read_bytes()
    rewritten(path, 262, code=262, value=6)
    with pytest.raises(InputError, match=r"colours \(YCbCr\) that are not read; save it as RGB"):
        read_rgb(path)
    path.write_bytes(good)
    rewritten(path, 259, code=259, value=50001)
    with pytest.raises(InputError, match="8-bit samples with WEBP compression is not read; save"):
        read_rgb(path)
    map_SN = np.arange(768, dtype=np.uint16).reshape(3, 256) // 3
    imwrite(path, grey(), photometric="palette", colormap=map_SN)
    rewritten(path, 259, code=259, value=5)
    with pytest.raises(InputError, match="a palette of 8 bits in a packed TIFF is not read; save"):
        read_rgb(path)
    imwrite(path, grey(), photometric="minisblack")
    rewritten(path, 262, code=263)
    with pytest.raises(InputError, match=r"damaged or cut off \(it does not say what its colours"):
        read_rgb(path)


@pytest.mark.parametrize("photometric", [0, 1])
def test_four_bits_are_read(path: Path, photometric: int) -> None:
    """Two pixels in a byte, which tifffile leaves to a further package."""
    level_HW = grey()[:, :48] // 16
    packed = np.zeros((HEIGHT, 48), np.uint8)
    packed[:, :24] = level_HW[:, ::2] * 16 + level_HW[:, 1::2]
    imwrite(path, packed, photometric="minisblack", contiguous=True)
    rewritten(path, 258, code=258, value=4)
    rewritten(path, 262, code=262, value=photometric)
    content = path.read_bytes()
    rows = packed[:, :24].tobytes()
    at = content.index(packed.tobytes())
    path.write_bytes(content[:at] + rows + content[at + len(rows) :])
    expected_HW = level_HW * 17 if photometric else 255 - level_HW * 17
    np.testing.assert_array_equal(read_rgb(path)[..., 1], expected_HW)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_part_that_is_missing_is_damage_and_not_black(
    path: Path, compression: str | None, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH, 3), np.uint16)
    imwrite(path, noise, photometric="rgb", compression=compression, rowsperstrip=8)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"image\.tif: damaged or cut off"):
        read_rgb(path)


def test_damage_before_the_samples_is_named(path: Path) -> None:
    """Where the tags stood, which may be the end of the file."""
    imwrite(path, picture(), photometric="rgb")
    content = path.read_bytes()
    (tags_at,) = struct.unpack("<I", content[4:8])
    path.write_bytes(content[:tags_at])
    with pytest.raises(InputError, match=r"cut off \(its list of pictures is missing\)"):
        read_rgb(path)
    path.write_bytes(content[: tags_at + 2] + bytes(len(content) - tags_at - 2))
    with pytest.raises(InputError, match=r"image\.tif: damaged or cut off \(its size is missing"):
        read_rgb(path)


def test_damage_in_strips_of_jpeg_is_seen(path: Path) -> None:
    """libtiff passes it over."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for image in (Image.fromarray(noise), Image.fromarray(noise).convert("L")):
        image.save(path, compression="jpeg", quality=95)
        read_rgb(path)
        with TiffFile(path) as tiff:
            page = tiff.pages.first
            middle = page.dataoffsets[0] + page.databytecounts[0] // 2
        content = bytearray(path.read_bytes())
        content[middle : middle + 40] = bytes(range(40))
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"image\.tif: damaged or cut off"):
            read_rgb(path)
