"""Profiles become sRGB, as a viewer shows them.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import icc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from ckd.contract.errors import InputError
from ckd.picture.decode import read_picture

HEIGHT, WIDTH = 24, 40
#: sRGB (IEC 61966-2-1): primaries and white; its curve is in `_encoded`.
SRGB: icc.Space = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), (0.3127, 0.3290), 2.4


def skin() -> NDArray[np.uint8]:
    """Skin in all its lightness; ProPhoto's brightest is redder than sRGB can show."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    image_HWC = np.stack([210 - 80 * y, 150 - 40 * x, 130 + 30 * x * y], axis=2)
    return image_HWC.round().astype(np.uint8)


def _encoded(linear: NDArray[Any]) -> NDArray[Any]:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def in_srgb(image_HWC: NDArray[np.uint8], space: icc.Space) -> NDArray[Any]:
    """The same colours in sRGB, by the definitions; what it cannot show is clipped."""
    linear_HWC = (image_HWC / 255.0) ** space[2]
    to_srgb = np.linalg.solve(icc.to_d50(SRGB), icc.to_d50(space))
    return 255 * _encoded(np.clip(linear_HWC @ to_srgb.T, 0, 1))


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("space", [icc.ADOBE_RGB, icc.DISPLAY_P3, icc.PROPHOTO])
def test_a_profile_becomes_srgb(tmp_path: Path, ending: str, space: icc.Space) -> None:
    path = tmp_path / f"image.{ending}"
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
    if ending == "webp":
        options = {"lossless": True}
    Image.fromarray(skin()).save(path, icc_profile=icc.rgb_profile(space), **options)
    seen = read_picture(path)
    # The profile holds gamma in steps of 1/256 and colours are rounded twice; JPEG's own
    # rounding is enlarged by the matrix, by half for ProPhoto.
    np.testing.assert_allclose(
        seen.image_HWC, in_srgb(skin(), space), atol=6 if ending == "jpg" else 2
    )
    assert seen.notes == ()
    assert np.abs(in_srgb(skin(), space) - skin()).max() > 6  # it is not what is stored


def jp2(path: Path, colours: bytes) -> None:
    """A JPEG 2000 file whose box of colours holds something else than the one for sRGB."""
    Image.fromarray(skin()).save(path, "JPEG2000")
    content = path.read_bytes()
    at, inner = content.index(b"jp2h") - 4, content.index(b"colr") - 4
    end = inner + int.from_bytes(content[inner : inner + 4], "big")
    box = struct.pack(">I4s", 8 + len(colours), b"colr") + colours
    length = int.from_bytes(content[at : at + 4], "big") + len(box) - (end - inner)
    head = struct.pack(">I", length) + content[at + 4 : inner]
    path.write_bytes(content[:at] + head + box + content[end:])


def test_jpeg_2000_has_profiles_too(tmp_path: Path) -> None:
    """Pillow passes them over, and colours that it does not know."""
    path = tmp_path / "image.jp2"
    jp2(path, b"\2\0\0" + icc.rgb_profile(icc.ADOBE_RGB))
    np.testing.assert_allclose(read_picture(path).image_HWC, in_srgb(skin(), icc.ADOBE_RGB), atol=2)
    jp2(path, b"\1\0\0" + struct.pack(">I", 14))
    with pytest.raises(InputError, match=r"JPEG 2000 with colours \(space 14\) that are not read"):
        read_picture(path)
    jp2(path, b"\1\0\0" + struct.pack(">I", 16))
    np.testing.assert_array_equal(read_picture(path).image_HWC, skin())


def test_transparent_parts_are_laid_on_white_after_the_profile(tmp_path: Path) -> None:
    image = Image.fromarray(skin())
    image.putalpha(128)
    image.save(tmp_path / "image.png", icc_profile=icc.rgb_profile(icc.PROPHOTO))
    expected_HWC = (in_srgb(skin(), icc.PROPHOTO) * 128 + 255 * 127) / 255
    np.testing.assert_allclose(read_picture(tmp_path / "image.png").image_HWC, expected_HWC, atol=2)


def test_16_bit_colours_have_profiles_too(tmp_path: Path) -> None:
    from tifffile import imwrite

    deep_HWC = skin().astype(np.uint16) * 257
    profile = icc.rgb_profile(icc.ADOBE_RGB)
    imwrite(tmp_path / "image.tif", deep_HWC, photometric="rgb", iccprofile=profile)
    seen_HWC = read_picture(tmp_path / "image.tif").image_HWC
    np.testing.assert_allclose(seen_HWC, in_srgb(skin(), icc.ADOBE_RGB), atol=2)


def test_a_grey_profile_is_applied(tmp_path: Path) -> None:
    grey_HW = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (HEIGHT, 1))
    Image.fromarray(grey_HW).save(tmp_path / "image.png", icc_profile=icc.grey_profile(1.0))
    expected_HW = 255 * _encoded(grey_HW / 255.0)
    seen_HWC = read_picture(tmp_path / "image.png").image_HWC
    np.testing.assert_allclose(seen_HWC, expected_HW[..., None].repeat(3, 2), atol=2)


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_is_read_by_its_profile(tmp_path: Path, ending: str) -> None:
    """Cyan is grey there: full is black, none is white, and other inks do not show."""
    cmyk_HWC = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    cmyk_HWC[:, : WIDTH // 2, 0] = 255
    cmyk_HWC[..., 1] = 200
    path = tmp_path / f"image.{ending}"
    profile = icc.cmyk_profile()
    Image.fromarray(cmyk_HWC, "CMYK").save(path, icc_profile=profile, quality=100)
    seen = read_picture(path)
    assert seen.notes == ()
    assert seen.image_HWC[:, : WIDTH // 2 - 8].max() <= 4
    assert seen.image_HWC[:, WIDTH // 2 + 8 :].min() >= 251


def test_srgb_under_any_name_changes_nothing(tmp_path: Path) -> None:
    """Also where the profile's own curve is rounded differently."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(skin()).save(tmp_path / "image.png", icc_profile=srgb)
    seen = read_picture(tmp_path / "image.png")
    np.testing.assert_array_equal(seen.image_HWC, skin())
    assert seen.notes == ()


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (b"no profile at all", "its colour profile is damaged and was passed over"),
        (icc.rgb_profile(icc.PROPHOTO)[:200], "its colour profile is damaged and was passed over"),
        (icc.grey_profile(1.0), "its GRAY profile was passed over, because it is RGB"),
    ],
)
def test_a_profile_that_cannot_be_meant_is_passed_over(
    tmp_path: Path, profile: bytes, note: str
) -> None:
    Image.fromarray(skin()).save(tmp_path / "image.png", icc_profile=profile)
    seen = read_picture(tmp_path / "image.png")
    np.testing.assert_array_equal(seen.image_HWC, skin())
    assert seen.notes == (note,)


def _with_chunks(path: Path, **chunks: bytes) -> None:
    """Put chunks into a PNG, before its pixels."""
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    made = b"".join(
        struct.pack(">I", len(data)) + kind.encode() + data
        + struct.pack(">I", zlib.crc32(kind.encode() + data))
        for kind, data in chunks.items()
    )  # fmt: skip
    path.write_bytes(content[:at] + made + content[at:])


def _chromaticities(space: icc.Space) -> bytes:
    points = [space[1], *space[0]]
    return struct.pack(">8I", *(round(100_000 * value) for point in points for value in point))


@pytest.mark.parametrize("space", [icc.ADOBE_RGB, icc.PROPHOTO])
def test_gamma_and_primaries_of_a_png_are_applied(tmp_path: Path, space: icc.Space) -> None:
    path = tmp_path / "image.png"
    chunks = {
        "gAMA": struct.pack(">I", round(100_000 / space[2])),
        "cHRM": _chromaticities(space),
    }
    Image.fromarray(skin()).save(path)
    _with_chunks(path, **chunks)
    np.testing.assert_allclose(read_picture(path).image_HWC, in_srgb(skin(), space), atol=2)
    Image.fromarray(skin()).save(path)
    _with_chunks(path, sRGB=b"\0", **chunks)  # which wins
    np.testing.assert_array_equal(read_picture(path).image_HWC, skin())


def test_the_gamma_of_grey_is_applied(tmp_path: Path) -> None:
    grey_HW = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (HEIGHT, 1))
    Image.fromarray(grey_HW).save(tmp_path / "image.png")
    _with_chunks(tmp_path / "image.png", gAMA=struct.pack(">I", 100_000))
    expected_HW = 255 * _encoded(grey_HW / 255.0)
    seen_HWC = read_picture(tmp_path / "image.png").image_HWC
    np.testing.assert_allclose(seen_HWC, expected_HW[..., None].repeat(3, 2), atol=2)


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": struct.pack(">I", 45_455)},
        {"gAMA": struct.pack(">I", 45_455), "cHRM": _chromaticities(SRGB)},
        {"gAMA": bytes(4), "cHRM": bytes(32)},
    ],
)
def test_what_srgb_or_nothing_is_told_changes_nothing(
    tmp_path: Path, chunks: dict[str, bytes]
) -> None:
    Image.fromarray(skin()).save(tmp_path / "image.png")
    _with_chunks(tmp_path / "image.png", **chunks)
    np.testing.assert_array_equal(read_picture(tmp_path / "image.png").image_HWC, skin())


@pytest.mark.parametrize(
    ("primaries", "curve", "is_read"), [(1, 13, True), (9, 16, False), (12, 13, False)]
)
def test_hdr_and_wide_colours_that_only_code_points_tell_are_refused(
    tmp_path: Path, primaries: int, curve: int, is_read: bool
) -> None:
    """Here with a PNG, in which a profile says more; and with AVIF, where Pillow has it."""
    png, avif = tmp_path / "image.png", tmp_path / "image.avif"
    paths = [png, avif] if features.check("avif") else [png]
    for path in paths:
        Image.fromarray(skin()).save(path)
    _with_chunks(png, cICP=bytes([primaries, curve, 0, 1]))
    if len(paths) > 1:
        box = b"colrnclx" + struct.pack(">HH", 1, 13)
        assert box in avif.read_bytes()
        told = box[:8] + struct.pack(">HH", primaries, curve)
        avif.write_bytes(avif.read_bytes().replace(box, told))
    for path in paths:
        if is_read:
            assert read_picture(path).notes == ()
            continue
        with pytest.raises(InputError, match=rf"H\.273 primaries {primaries}, curve {curve}"):
            read_picture(path)
    Image.fromarray(skin()).save(png, icc_profile=icc.rgb_profile(icc.DISPLAY_P3))
    _with_chunks(png, cICP=bytes([primaries, curve, 0, 1]))
    np.testing.assert_allclose(read_picture(png).image_HWC, in_srgb(skin(), icc.DISPLAY_P3), atol=2)


@pytest.mark.parametrize(("index", "space"), [("R03", icc.ADOBE_RGB), ("R98", None)])
def test_adobe_rgb_that_only_exif_tells_becomes_srgb(
    tmp_path: Path, index: str, space: icc.Space | None
) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: index}}
    path = tmp_path / "image.jpg"
    Image.fromarray(skin()).save(path, exif=exif, quality=100, subsampling=0)
    expected_HWC = skin() if space is None else in_srgb(skin(), space)
    np.testing.assert_allclose(read_picture(path).image_HWC, expected_HWC, atol=4)
    assert np.abs(in_srgb(skin(), icc.ADOBE_RGB) - skin()).max() > 8
