"""A JPEG is read whole or refused: libjpeg's warnings are errors here.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.contract.errors import InputError
from ckd.data.synthetic.write import dermoscopy
from ckd.picture.decode import read_picture

JPEGS = Path(__file__).parents[1] / "assets" / "jpeg"
END = b"\xff\xd9"
DAMAGED = r"image\.jpg: damaged or cut off"


def photograph() -> Image.Image:
    return Image.fromarray(dermoscopy(3, 96).image_HWC)


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or photograph()).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.jpg"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_overwritten_in_the_middle_is_damaged(path: Path, progressive: bool) -> None:
    """Pillow alone reads it without a word."""
    content = bytearray(jpeg(quality=95, progressive=progressive))
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(range(40))
    path.write_bytes(content)
    with Image.open(path) as image:
        image.load()
    with pytest.raises(InputError, match=DAMAGED):
        read_picture(path)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_without_its_end_marker_it_is_read_and_said(path: Path, subsampling: int) -> None:
    content = jpeg(subsampling=subsampling)
    path.write_bytes(content)
    whole = read_picture(path)
    path.write_bytes(content.removesuffix(END))
    seen = read_picture(path)
    np.testing.assert_array_equal(seen.image_HWC, whole.image_HWC)
    assert seen.notes == ("its end marker is missing, but the picture is whole",)
    assert whole.notes == ()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("tail", [b"", END, bytes(20_000)])
def test_a_file_that_is_cut_off_is_refused(
    path: Path, progressive: bool, share: float, tail: bytes
) -> None:
    content = jpeg(progressive=progressive)
    path.write_bytes(content[: int(share * len(content))] + tail)
    with pytest.raises(InputError, match=DAMAGED):
        read_picture(path)


def test_a_progressive_file_that_ends_at_a_scan_is_refused(path: Path) -> None:
    """With an end marker put there it would decode without a warning, and look smooth."""
    content = jpeg(progressive=True)
    path.write_bytes(content[: content.rindex(b"\xff\xda")])
    with pytest.raises(InputError, match=DAMAGED):
        read_picture(path)


def test_what_phones_append_is_passed_over(path: Path) -> None:
    """A film behind the picture, and a second picture (MPO) after it."""
    content = jpeg()
    path.write_bytes(content)
    alone = read_picture(path)
    for tail in (b"\0\0\0\x18ftypmp42" + bytes(5000), jpeg(Image.new("RGB", (64, 64)))):
        path.write_bytes(content + tail)
        seen = read_picture(path)
        np.testing.assert_array_equal(seen.image_HWC, alone.image_HWC)
        assert seen.notes == ()


def test_inks_of_cmyk_are_the_right_way_round(path: Path) -> None:
    """White paper, and a patch of each ink."""
    inks_HWC = np.zeros((32, 64, 4), np.uint8)
    for number in range(1, 4):
        inks_HWC[:, 16 * number : 16 * number + 16, number] = 255  # magenta, yellow, black
    path.write_bytes(jpeg(Image.fromarray(inks_HWC, "CMYK"), quality=100))
    seen = read_picture(path)
    patches = [seen.image_HWC[16, column].tolist() for column in (8, 24, 40, 56)]
    expected = [[255, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    np.testing.assert_allclose(patches, expected, atol=3)
    assert seen.notes == ("CMYK without a profile: its colours are approximate",)


def test_a_rare_sampling_is_read_by_pillow_and_said(path: Path) -> None:
    """Samples of CMYK taken every second pixel: simplejpeg does not know it."""
    image = photograph().convert("CMYK")
    path.write_bytes(jpeg(image, quality=95, subsampling=2))
    seen = read_picture(path)
    assert "it is stored in a rare way, in which damage cannot be seen" in seen.notes
    difference_HWC = seen.image_HWC.astype(int) - np.asarray(image.convert("RGB"))
    assert np.abs(difference_HWC).mean() < 6


@pytest.mark.parametrize("name", ["arithmetic", "arithmetic_progressive"])
def test_arithmetic_coding_is_read(name: str) -> None:
    """The same samples in another code, by libjpeg."""
    huffman_HWC = read_picture(JPEGS / "huffman.jpg").image_HWC
    np.testing.assert_array_equal(read_picture(JPEGS / f"{name}.jpg").image_HWC, huffman_HWC)


def test_damaged_exif_is_passed_over(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(jpeg(photograph().crop((0, 0, 96, 90)), exif=exif))
    at = content.index(b"Exif\0\0") + 6
    content[at : at + 8] = b"XX*\0\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_picture(path).image_HWC.shape == (90, 96, 3)


def test_more_than_8_bits_are_named(path: Path) -> None:
    content = bytearray(jpeg())
    content[content.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"JPEG of 12-bit samples is not read; save it as 16-bit"):
        read_picture(path)


def test_lossless_jpeg_is_named(path: Path) -> None:
    content = bytearray(jpeg())
    content[content.index(b"\xff\xc0") + 1] = 0xC3
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"image\.jpg: a rare kind of JPEG .*; save it as PNG"):
        read_picture(path)
