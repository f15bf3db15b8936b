"""Whatever a camera, scanner or editor writes becomes upright 8-bit RGB, or one clear line.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from ckd.contract.errors import InputError
from ckd.picture.decode import MAX_PIXELS, MIN_SIDE_PX, check_rgb, read_picture, read_rgb

HEIGHT, WIDTH = 24, 40
#: Corners: red, green, blue, white; so that any flip or turn shows.
CORNERS = {
    (0, 0): (255, 0, 0),
    (0, -1): (0, 255, 0),
    (-1, 0): (0, 0, 255),
    (-1, -1): (255, 255, 255),
}


def picture() -> NDArray[np.uint8]:
    image_HWC = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half_h, half_w = HEIGHT // 2, WIDTH // 2
    for (row, column), colour in CORNERS.items():
        rows = slice(None, half_h) if row == 0 else slice(half_h, None)
        columns = slice(None, half_w) if column == 0 else slice(half_w, None)
        image_HWC[rows, columns] = colour
    return image_HWC


def ramp() -> NDArray[np.uint8]:
    """Every row from 0 to 234."""
    return np.tile(np.arange(0, 6 * WIDTH, 6, dtype=np.uint8), (HEIGHT, 1))


def png(
    width: int, height: int, bits: int, colour: int, rows: bytes, packed: bytes | None = None
) -> bytes:
    """A PNG by hand; ``packed`` overrides the compressed rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + _crc(kind + content)

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(rows) if packed is None else packed
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _crc(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))


# Formats


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_a_lossless_file_is_read_exactly(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"image.{ending}"
    Image.fromarray(picture()).save(path, lossless=True)  # for WebP; the others ignore it
    read_HWC = read_rgb(path)
    assert read_HWC.dtype == np.uint8
    np.testing.assert_array_equal(read_HWC, picture())


def test_a_jpeg_is_read_in_rgb_order(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "image.jpg", quality=95, subsampling=0)
    read_HWC = read_rgb(tmp_path / "image.jpg")
    for (row, column), colour in CORNERS.items():
        np.testing.assert_allclose(read_HWC[row, column].astype(int), colour, atol=6)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.jpg")
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.jpg"), picture())


# EXIF orientation -> how the stored picture lies relative to the upright one.
ORIENTATIONS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "avif"])
def test_a_photograph_is_turned_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    stored = np.ascontiguousarray(ORIENTATIONS[orientation](picture()))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{ending}"
    if ending == "avif" and "avif" not in features.get_supported():
        pytest.skip("needs a Pillow with AVIF")
    full: Any = "4:4:4" if ending == "avif" else 0
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=full)
    read_HWC = read_rgb(path)
    assert read_HWC.shape == (HEIGHT, WIDTH, 3)
    for (row, column), colour in CORNERS.items():
        np.testing.assert_allclose(read_HWC[row, column].astype(int), colour, atol=6)


def test_an_unknown_orientation_is_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    Image.fromarray(picture()).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), picture())


# Colour modes


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_grey_is_repeated_over_the_channels(tmp_path: Path, mode: str) -> None:
    grey_HW = ramp() if mode != "1" else np.where(ramp() > 117, 255, 0).astype(np.uint8)
    image = Image.fromarray(grey_HW)
    if mode == "LA":
        image.putalpha(Image.new("L", image.size, 255))
    elif mode != "L":
        image = image.convert(mode, dither=Image.Dither.NONE)
    assert image.mode == mode
    image.save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), grey_HW[..., None].repeat(3, 2))


def test_transparent_parts_are_shown_on_white(tmp_path: Path) -> None:
    """Half transparent red on white is (255, 127.5, 127.5)."""
    alpha_HW = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha_HW[0, 0], alpha_HW[0, 1] = 0, 128
    image = Image.fromarray(picture())
    image.putalpha(Image.fromarray(alpha_HW))
    image.save(tmp_path / "image.png")
    seen = read_picture(tmp_path / "image.png")
    expected_HWC = picture()
    expected_HWC[0, 0], expected_HWC[0, 1] = 255, (255, 127, 127)
    np.testing.assert_array_equal(seen.image_HWC, expected_HWC)
    assert seen.notes == ("transparent parts are shown on white",)


def test_grey_is_shown_on_white(tmp_path: Path) -> None:
    image = Image.fromarray(ramp())
    image.putalpha(Image.new("L", image.size, 51))  # a fifth
    image.save(tmp_path / "image.png")
    expected_HW = 204 + ramp().astype(int) // 5
    seen_HWC = read_rgb(tmp_path / "image.png").astype(int)
    assert np.abs(seen_HWC - expected_HW[..., None]).max() <= 1


def test_what_is_wholly_transparent_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(picture())
    image.putalpha(0)
    image.save(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"image\.png: every pixel is transparent, nothing"):
        read_rgb(tmp_path / "image.png")


def test_a_palette_with_transparency_is_shown_on_white(tmp_path: Path) -> None:
    image = Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    image.save(tmp_path / "image.png", transparency=bytes([0, 102, 255, 255]))
    with Image.open(tmp_path / "image.png") as stored:
        assert (stored.mode, len(stored.info["transparency"])) == ("P", 4)
        index_HW = np.asarray(stored)
    expected_HWC = picture()
    expected_HWC[index_HW == 0] = 255
    two_fifths = expected_HWC[index_HW == 1].astype(int) * 2 // 5
    expected_HWC[index_HW == 1] = 153 + two_fifths
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), expected_HWC)


@pytest.mark.parametrize("deep", [False, True])
def test_a_grey_that_counts_as_transparent_is_white(tmp_path: Path, deep: bool) -> None:
    grey_HW = ramp().astype(np.uint16) * 256 if deep else ramp()
    Image.fromarray(grey_HW).save(tmp_path / "image.png", transparency=12 * (256 if deep else 1))
    expected_HW = np.where(ramp() == 12, 255, ramp())
    np.testing.assert_array_equal(
        read_rgb(tmp_path / "image.png"), expected_HW[..., None].repeat(3, 2)
    )


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_of_few_bits_that_counts_as_transparent_is_white(tmp_path: Path, bits: int) -> None:
    """The grey is given in as many bits, which Pillow does not widen."""
    top = 2**bits - 1
    level_HW = np.add.outer(np.arange(16), np.arange(16)) % (top + 1)
    per_byte = level_HW.reshape(16, -1, 8 // bits)
    packed = (per_byte << np.arange(8 - bits, -1, -bits)).sum(axis=2).astype(np.uint8)
    content = png(16, 16, bits, 0, b"".join(b"\0" + row.tobytes() for row in packed))
    key = 0 if bits == 1 else 1
    chunk = b"tRNS" + struct.pack(">H", key)
    at = content.index(b"IDAT") - 4
    chunk = struct.pack(">I", 2) + chunk + _crc(chunk)
    (tmp_path / "image.png").write_bytes(content[:at] + chunk + content[at:])
    expected_HW = np.where(level_HW == key, 255, level_HW * (255 // top))
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png")[..., 0], expected_HW)


def test_a_colour_that_counts_as_transparent_is_white(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "image.png", transparency=(255, 0, 0))
    expected_HWC = picture()
    expected_HWC[: HEIGHT // 2, : WIDTH // 2] = 255
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), expected_HWC)


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path: Path) -> None:
    deep_HWC = picture().astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in deep_HWC)
    content = png(WIDTH, HEIGHT, 16, 2, rows)
    chunk = b"tRNS" + struct.pack(">3H", 65535, 0, 0)
    at = content.index(b"IDAT") - 4
    chunk = struct.pack(">I", 6) + chunk + _crc(chunk)
    (tmp_path / "image.png").write_bytes(content[:at] + chunk + content[at:])
    with pytest.raises(InputError, match="16-bit colours with one that is transparent"):
        read_rgb(tmp_path / "image.png")


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path, ending: str) -> None:
    deep_HW = ramp().astype(np.uint16) * 256 + 255
    Image.fromarray(deep_HW).save(tmp_path / f"image.{ending}")
    read_HWC = read_rgb(tmp_path / f"image.{ending}")
    np.testing.assert_array_equal(read_HWC, ramp()[..., None].repeat(3, 2))


@pytest.mark.parametrize("orientation", [3, 6])
def test_16_bit_grey_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    deep_HW = ramp().astype(np.uint16) * 256
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(deep_HW, {3: 2, 6: 1}[orientation])
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), ramp()[..., None].repeat(3, 2))


def test_16_bit_colour_keeps_its_high_bytes(tmp_path: Path) -> None:
    deep_HWC = (picture().astype(np.uint16) * 256 + 77).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep_HWC)
    (tmp_path / "image.png").write_bytes(png(WIDTH, HEIGHT, 16, 2, rows))
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), picture())


def test_32_bit_grey_is_read(tmp_path: Path) -> None:
    for dtype in (np.int32, np.float32):
        Image.fromarray(ramp().astype(dtype)).save(tmp_path / "image.tif")
        read_HWC = read_rgb(tmp_path / "image.tif")
        np.testing.assert_array_equal(read_HWC, ramp()[..., None].repeat(3, 2))


def test_a_cmyk_jpeg_is_read_as_colour(tmp_path: Path) -> None:
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "image.jpg", quality=95)
    with Image.open(tmp_path / "image.jpg") as stored:
        assert stored.mode == "CMYK"
    read_HWC = read_rgb(tmp_path / "image.jpg")
    for (row, column), colour in CORNERS.items():
        np.testing.assert_allclose(read_HWC[row, column].astype(int), colour, atol=12)


def test_the_first_picture_of_several_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture()), Image.new("RGB", (WIDTH, HEIGHT))
    first.save(tmp_path / "image.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.tif"), picture())


@pytest.mark.parametrize("ending", ["webp", "png"])
def test_the_first_picture_of_an_animation_is_read_and_said(tmp_path: Path, ending: str) -> None:
    first, second = Image.fromarray(picture()), Image.new("RGB", (WIDTH, HEIGHT))
    path = tmp_path / f"image.{ending}"
    first.save(path, save_all=True, append_images=[second], lossless=True)
    seen = read_picture(path)
    np.testing.assert_array_equal(seen.image_HWC, picture())
    assert seen.notes == ("it holds several pictures: the first was read",)


# Refused


def test_a_missing_file_a_folder_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jpg: no such file$"):
        read_rgb(tmp_path / "nothing.jpg")
    with pytest.raises(InputError, match=r"is a folder, expected an image file$"):
        read_rgb(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: the file is empty; expected JPEG, PNG"):
        read_rgb(tmp_path / "empty.jpg")


@pytest.mark.parametrize("content", [b"some words\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"text\.jpg: (not an image|damaged)") as caught:
        read_rgb(tmp_path / "text.jpg")
    assert "\n" not in str(caught.value)
    assert " object at 0x" not in str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "tif", "webp"])
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"image.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        InputError, match=rf"image\.{ending}: (damaged or cut off|not an)"
    ) as caught:
        read_rgb(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 400), (400, 15)])
def test_an_image_too_small_to_show_a_lesion_is_refused(
    tmp_path: Path, width: int, height: int
) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "dot.png")
    expected = rf"dot\.png: {width}x{height} pixels is too small .* at least 16x16"
    with pytest.raises(InputError, match=expected):
        read_rgb(tmp_path / "dot.png")


def test_the_smallest_image_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (MIN_SIDE_PX, MIN_SIDE_PX)).save(tmp_path / "small.png")
    assert read_rgb(tmp_path / "small.png").shape == (MIN_SIDE_PX, MIN_SIDE_PX, 3)


def test_100_megapixels_are_refused_without_decoding(tmp_path: Path) -> None:
    """A real file of 10000 x 10000: 13 kB on disk, 300 MB decoded."""
    row = b"\0" + bytes(1250)
    (tmp_path / "big.png").write_bytes(png(10_000, 10_000, 1, 0, row * 10_000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"big\.png.*over the limit of 64 megapixels; resize"):
            read_rgb(tmp_path / "big.png")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("side", [8001, 9000, 20_000, 2**31 - 1])
def test_a_header_of_huge_size_is_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "huge.png").write_bytes(png(side, side, 8, 2, b"", packed=b"\x78"))
    with pytest.raises(InputError, match=r"huge\.png.*(over the limit of 64 megapixels|damaged)"):
        read_rgb(tmp_path / "huge.png")


def test_an_image_at_the_limit_is_not_too_large(tmp_path: Path) -> None:
    """Only the header is real, so that decoding it fails: for another reason."""
    side = int(MAX_PIXELS**0.5)
    (tmp_path / "limit.png").write_bytes(png(side, side, 1, 0, b""))
    with pytest.raises(InputError, match="damaged or cut off"):
        read_rgb(tmp_path / "limit.png")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 20, 3), np.float32), r"got float32\[20, 20, 3\]"),
        (np.zeros((20, 20), np.uint8), r"got uint8\[20, 20\]"),
        (np.zeros((20, 20, 4), np.uint8), r"got uint8\[20, 20, 4\]"),
        (np.zeros((3, 20, 20), np.uint8), r"got uint8\[3, 20, 20\]"),
        (np.zeros((1, 20, 20, 3), np.uint8), r"got uint8\[1, 20, 20, 3\]"),
        (np.zeros((15, 20, 3), np.uint8), "20x15 pixels is too small"),
        (np.zeros((0, 0, 3), np.uint8), "0x0 pixels is too small"),
        (np.broadcast_to(np.uint8(0), (8001, 8001, 3)), "8001x8001 pixels: over the limit"),
    ],
)
def test_an_array_that_is_no_photograph_is_refused(array: NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^image: .*{message}"):
        check_rgb(array)


@pytest.mark.parametrize("image", [None, [[[0, 0, 0]]], Image.new("RGB", (32, 32))])
def test_what_is_no_array_is_refused_with_the_remedy(image: object) -> None:
    with pytest.raises(InputError, match=r"expected a NumPy array or a path, got .*np\.asarray"):
        check_rgb(image)  # type: ignore[arg-type]
