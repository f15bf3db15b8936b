"""DICOM photographs: the same picture, however its samples are called and coded.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture.decode import read_picture, read_rgb
from ckd.picture.dicom import _said
from ckd.picture.primaries import rgb_profile

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

HEIGHT, WIDTH = 32, 48
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG, JPEG_2000, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


def picture() -> NDArray[np.uint8]:
    """Smooth, so that JPEG keeps it, and nowhere grey."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([120 + 2 * x, 90 + 2 * y, 60 + x], axis=2).astype(np.uint8)


def grey() -> NDArray[np.uint8]:
    return picture()[..., 0]


def write(
    path: Path,
    pixels: bytes | list[bytes],
    name: str = "RGB",
    syntax: str = EXPLICIT,
    bits: int = 8,
    **elements: Any,
) -> Path:
    """A file of one frame unless ``elements`` say more; a list of pixels is encapsulated."""
    from pydicom.encaps import encapsulate

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = elements.pop("SOPClassUID", DERMOSCOPIC)
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.Rows, dataset.Columns = HEIGHT, WIDTH
    dataset.PhotometricInterpretation = name
    dataset.SamplesPerPixel = 1 if name.startswith(("MONO", "PAL")) else 3
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsStored, dataset.BitsAllocated = bits, 8 if bits <= 8 else 16
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels if isinstance(pixels, bytes) else encapsulate(pixels)
    dataset["PixelData"].VR = "OB" if bits <= 8 else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def ybr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).convert("YCbCr"))


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", quality=100, **options)
    return buffer.getvalue()


def unmarked(content: bytes) -> bytes:
    """A JPEG without what says how its colours are stored: JFIF and Adobe's marker."""
    for marker in (b"\xff\xe0", b"\xff\xee"):
        if (at := content.find(marker, 0, 40)) >= 0:
            length = int.from_bytes(content[at + 2 : at + 4], "big")
            content = content[:at] + content[at + 2 + length :]
    assert b"JFIF" not in content
    return content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


def test_without_the_extra_it_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, picture().tobytes())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    expected = r"image\.dcm: is a DICOM file, which needs the extra dicom: pip install 'ckd"
    with pytest.raises(InputError, match=expected):
        read_rgb(path)


def test_a_message_repeats_little_of_a_header_and_nothing_that_breaks_lines(path: Path) -> None:
    write(path, picture().tobytes(), PhotometricInterpretation="RGB")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"RGB ", b"R\nG\x1b", 1))
    with pytest.raises(InputError) as caught:
        read_rgb(path)
    assert str(caught.value).isprintable()
    assert _said("x\ny\x1b" + "z" * 500) == "x?y?" + "z" * 56 + "..."


@pytest.mark.parametrize("kind", [DERMOSCOPIC, VL_PHOTOGRAPHIC, SECONDARY_CAPTURE])
def test_kinds_of_photographs_are_read_and_others_named(path: Path, kind: str) -> None:
    write(path, picture().tobytes(), SOPClassUID=kind)
    np.testing.assert_array_equal(read_rgb(path), picture())
    write(path, picture().tobytes(), SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    with pytest.raises(InputError, match=r"DICOM of CT Image Storage; expected dermoscopic or VL"):
        read_rgb(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_colours_are_read_by_what_they_are_called(path: Path, syntax: str) -> None:
    planes = picture().transpose(2, 0, 1).tobytes()
    if syntax == EXPLICIT:
        write(path, planes, PlanarConfiguration=1)
        np.testing.assert_array_equal(read_rgb(path), picture())
    for name, image in (("RGB", picture()), ("YBR_FULL", ybr(picture()))):
        write(path, image.tobytes(), name)
        if syntax == RLE:
            dataset = pydicom.dcmread(path)
            dataset.compress(RLE, generate_instance_uid=False)
            dataset.save_as(path)
        # YCbCr is rounded to whole numbers, which is up to three steps of a colour.
        np.testing.assert_allclose(read_rgb(path), picture(), atol=0 if name == "RGB" else 3)


def test_colours_of_every_second_pixel_are_read(path: Path) -> None:
    image = ybr(picture().repeat(2, axis=1)[:, :WIDTH])
    pairs = image.reshape(HEIGHT, WIDTH // 2, 2, 3)
    content = np.stack([pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], -1)
    write(path, content.tobytes(), "YBR_FULL_422")
    np.testing.assert_allclose(read_rgb(path), picture().repeat(2, axis=1)[:, :WIDTH], atol=3)


def test_rgb_that_is_called_ybr_422_is_refused(path: Path) -> None:
    write(path, picture().tobytes(), "YBR_FULL_422")
    with pytest.raises(InputError, match="says YBR_FULL_422 but holds 4608 bytes of pixels"):
        read_rgb(path)
    write(path, [unmarked(jpeg(keep_rgb=True, subsampling=0))], "YBR_FULL_422", JPEG)
    with pytest.raises(InputError, match="says YBR_FULL_422 but holds every colour sample"):
        read_rgb(path)


def test_jpeg_that_says_rgb_and_leaves_out_colours_is_refused(path: Path) -> None:
    """As RGB its halved samples would be those of green and blue."""
    write(path, [unmarked(jpeg(subsampling=1))], "RGB", JPEG)
    with pytest.raises(InputError, match="says RGB but leaves out colour samples"):
        read_rgb(path)
    write(path, [unmarked(jpeg(subsampling=1))], "YBR_FULL", JPEG)
    np.testing.assert_allclose(read_rgb(path), picture(), atol=4)


@pytest.mark.parametrize("name", ["RGB", "YBR_FULL_422"])
def test_marked_jpeg_says_itself_how_colours_are_stored(path: Path, name: str) -> None:
    for content in (jpeg(keep_rgb=True, subsampling=0), jpeg(subsampling=0), jpeg(subsampling=1)):
        write(path, [content], name, JPEG)
        # A step is the width of two columns, of which a halved colour is the mean.
        np.testing.assert_allclose(read_rgb(path), picture(), atol=4)


def test_unmarked_jpeg_is_what_the_header_says(path: Path) -> None:
    write(path, [unmarked(jpeg(keep_rgb=True, subsampling=0))], "RGB", JPEG)
    np.testing.assert_allclose(read_rgb(path), picture(), atol=3)
    write(path, [unmarked(jpeg(subsampling=1))], "YBR_FULL_422", JPEG)
    np.testing.assert_allclose(read_rgb(path), picture(), atol=4)


def test_a_jpeg_that_is_cut_off_is_refused(path: Path) -> None:
    content = jpeg()
    write(path, [content[: len(content) * 2 // 3]], "YBR_FULL_422", JPEG)
    with pytest.raises(InputError, match=r"image\.dcm: damaged or cut off"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["RGB", "YBR_RCT", "YBR_FULL"])
def test_jpeg_2000_is_read(path: Path, name: str) -> None:
    """Whose colours the stream itself turns into RGB, so YBR_FULL contradicts it."""
    pytest.importorskip("openjpeg", reason="needs the extra dicom")
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG2000", no_jp2=True, mct=int(name != "RGB"))
    write(path, [buffer.getvalue()], name, JPEG_2000)
    if name == "YBR_FULL":
        with pytest.raises(InputError, match=r"JPEG 2000 .* with YBR_FULL is not read"):
            read_rgb(path)
    else:
        np.testing.assert_array_equal(read_rgb(path), picture())


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_grey_is_no_negative_at_any_depth(path: Path, bits: int) -> None:
    deep_HW = grey().astype(np.uint8 if bits == 8 else "<u2") << (bits - 8)
    write(path, deep_HW.tobytes(), "MONOCHROME2", bits=bits)
    np.testing.assert_array_equal(read_rgb(path), grey()[..., None].repeat(3, 2))
    write(path, deep_HW.tobytes(), "MONOCHROME1", bits=bits)
    np.testing.assert_array_equal(read_rgb(path), 255 - grey()[..., None].repeat(3, 2))


def test_a_window_is_applied(path: Path) -> None:
    """Of 12 bits: 1024 to 3071 are black to white (PS3.3 C.11.2.1.2)."""
    deep_HW = np.linspace(0, 4095, HEIGHT * WIDTH).astype("<u2").reshape(HEIGHT, WIDTH)
    write(path, deep_HW.tobytes(), "MONOCHROME2", bits=12, WindowCenter=2048, WindowWidth=2048)
    expected_HW = np.clip((deep_HW.astype(int) - 1024) / 2047 * 255, 0, 255)
    np.testing.assert_allclose(read_rgb(path)[..., 0], expected_HW, atol=1)


def test_grey_jpeg_is_shown_as_its_header_says(path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(grey()).save(buffer, "JPEG", quality=100)
    write(path, [buffer.getvalue()], "MONOCHROME1", JPEG)
    np.testing.assert_allclose(read_rgb(path)[..., 1], 255 - grey(), atol=2)
    write(path, [buffer.getvalue()], "MONOCHROME2", JPEG, WindowCenter=160, WindowWidth=64)
    expected_HW = np.clip((grey().astype(int) - 128) / 63 * 255, 0, 255)
    np.testing.assert_allclose(read_rgb(path)[..., 1], expected_HW, atol=9)


def test_the_profile_of_the_header_counts_for_jpeg_too(path: Path) -> None:
    """Whose frames seldom hold one of their own."""
    profile = rgb_profile((0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 563 / 256)
    write(path, picture().tobytes(), ICCProfile=profile)
    uncompressed_HWC = read_rgb(path)
    assert np.abs(uncompressed_HWC.astype(int) - picture()).max() > 10
    write(path, [jpeg(subsampling=0)], "YBR_FULL_422", JPEG, ICCProfile=profile)
    np.testing.assert_allclose(read_rgb(path), uncompressed_HWC, atol=5)


def test_a_palette_is_applied(path: Path) -> None:
    index_HW = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    tables: dict[str, Any] = {
        f"{colour}PaletteColorLookupTable{part}": value
        for at, colour in enumerate(("Red", "Green", "Blue"))
        for part, value in (
            ("Descriptor", [256, 0, 16]),
            ("Data", (colours[:, at].astype("<u2") * 257).tobytes()),
        )
    }
    write(path, index_HW.tobytes(), "PALETTE COLOR", **tables)
    np.testing.assert_array_equal(read_rgb(path), colours[index_HW])


def test_the_first_frame_is_read_and_said(path: Path) -> None:
    write(path, picture().tobytes() + bytes(picture().size), NumberOfFrames=2)
    seen = read_picture(path)
    np.testing.assert_array_equal(seen.image_HWC, picture())
    assert seen.notes == ("it holds several frames: the first was read",)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"Rows": 2000}, "damaged or cut off"),
        ({"Rows": 60000, "Columns": 60000}, "over the limit of 64 megapixels"),
        ({"PixelRepresentation": 1}, "signed samples is not read"),
        ({"RescaleSlope": 2.0}, "measured values"),
        ({"name": "YBR_PARTIAL_420"}, "with YBR_PARTIAL_420 is not read"),
        ({"SamplesPerPixel": 1}, "1 samples for each pixel of RGB"),
        ({"name": "MONOCHROME2", "SamplesPerPixel": 3}, "3 samples for each pixel of MONOCHROME2"),
        ({"BitsStored": 12, "BitsAllocated": 16, "HighBit": 15}, "12 bits end at bit 15"),
    ],
)
def test_what_cannot_be_shown_right_is_refused(
    path: Path, elements: dict[str, Any], expected: str
) -> None:
    write(path, picture().tobytes(), **elements)
    with pytest.raises(InputError, match=expected):
        read_rgb(path)


def test_what_is_deflated_as_a_whole_is_named(path: Path) -> None:
    write(path, picture().tobytes(), syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(InputError, match=r"DICOM of Deflated .* with RGB is not read"):
        read_rgb(path)


def test_videos_are_named_by_their_coding(path: Path) -> None:
    write(path, [bytes(100)], "YBR_PARTIAL_420", "1.2.840.10008.1.2.4.102",
          SOPClassUID=VL_PHOTOGRAPHIC)  # fmt: skip
    with pytest.raises(InputError, match=r"DICOM of MPEG-4 .* is not read"):
        read_rgb(path)
