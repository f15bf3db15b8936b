"""Only promised formats are opened, and a message names what any other file really is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture.decode import read_rgb

#: Starts of files under the name of a photograph, and what they are called.
STARTS = {
    b"GIF89a" + bytes(60): "is a GIF picture",
    b"GIF89a" + b"G" * 600: "is a GIF picture",
    (b"G" + bytes(187)) * 4: r"is a video \(MPEG\)",
    b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(60): r"is a video \(MOV\)",
    b"The wide world": "not an image but text",
    b"Good day. " + b"." * 178 + b"Goodbye.": "not an image but text",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n": r"is a PostScript \(EPS\) document",
    b"\xc5\xd0\xd3\xc6" + bytes(60): r"is a PostScript \(EPS\) document",
    b"%PDF-1.7\n": "is a PDF document",
    b"8BPS\0\1" + bytes(60): "is a Photoshop document",
    b"\0\0\1\0\1\0" + bytes(60): "is an icon",
    b"\0\0\2\0\0\0\0\0" + bytes(60): "is a TGA picture",
    b"DDS |\0\0\0" + bytes(60): "is a DDS texture",
    b"\xff\x0a" + bytes(60): "is a JPEG XL picture",
    b"\0\0\0\x18ftypmp42\0\0\0\0isommp42": "is a video",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ": "is a video",
    b"\x1aE\xdf\xa3" + bytes(60): "is a video",
    b"RIFF\0\0\0\0AVI LIST": "is a video",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom": r"is a camera's raw file \(CR3\)",
    b"II*\0\x10\0\0\0CR\2\0" + bytes(60): r"is a camera's raw file \(CR2\)",
    b"<!DOCTYPE html>\n<html><body>404</body></html>": "is a web page",
    b"\xef\xbb\xbf  <html>": "is a web page",
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>': "is an SVG drawing",
    b'{"error": "not found"}': "not an image but text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "is a Git LFS pointer",
    b"PK\3\4" + bytes(60): "is a zip archive",
    b"\0\5\x16\7" + bytes(60): "is what macOS keeps beside a file",
    b"P6\n64 64\n255\n" + bytes(12288): "is a Netpbm picture",
    b"\x93NUMPY" + bytes(60): "is a NumPy array",
    b"\x89HDF\r\n\x1a\n" + bytes(60): "is an HDF5 file",
    b"SIMPLE  =                    T": "is a FITS picture",
    b"\xff\xd8\xff\xf7" + bytes(60): "is a JPEG-LS picture",
    bytes(200): "not an image",
}


@pytest.mark.parametrize("start", STARTS, ids=[name.replace("\\", "") for name in STARTS.values()])
def test_a_file_is_named_for_what_it_is(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(start)
    with pytest.raises(
        InputError, match=rf"photo\.jpg: {STARTS[start]}.*; expected JPEG, PNG"
    ) as e:
        read_rgb(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("ending", ["gif", "ico", "tga", "dds", "ppm", "eps", "pdf", "sgi", "pcx"])
def test_what_else_pillow_can_write_is_not_opened(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"image.{ending}"
    Image.new("RGB", (64, 64), (200, 150, 130)).save(path)
    path = path.rename(tmp_path / "photo.png")
    with pytest.raises(InputError, match="expected JPEG, PNG"):
        read_rgb(path)


@pytest.mark.parametrize("ending", ["jp2", "j2k"])
def test_jpeg_2000_is_read(tmp_path: Path, ending: str) -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    Image.fromarray(image_HWC).save(tmp_path / f"image.{ending}")  # lossless unless told otherwise
    np.testing.assert_array_equal(read_rgb(tmp_path / f"image.{ending}"), image_HWC)


def test_avif_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "image.avif"
    try:
        Image.new("RGB", (32, 40), (200, 150, 130)).save(path, quality=100, subsampling="4:4:4")
    except (KeyError, ValueError):  # a Pillow without AVIF
        path.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")
        with pytest.raises(
            InputError, match="AVIF, which the installed Pillow cannot read; install"
        ):
            read_rgb(path)
        return
    np.testing.assert_allclose(read_rgb(path), np.full((40, 32, 3), (200, 150, 130)), atol=2)


def test_a_format_that_pillow_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "image.webp")
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "webp")
    with pytest.raises(InputError, match="WebP, which the installed Pillow cannot read; install"):
        read_rgb(tmp_path / "image.webp")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(InputError, match=r"photo\.jpg: is a pipe or device, expected an image"):
        read_rgb(tmp_path / "photo.jpg")


def test_an_ordinary_photograph_needs_no_rare_decoder() -> None:
    """What is not imported takes no time at the start of a command."""
    photograph = Path(__file__).parents[1] / "assets" / "photographs" / "plain.jpg"
    program = (
        "import sys; from pathlib import Path; from ckd.picture.decode import read_rgb; "
        f"read_rgb(Path({str(photograph)!r})); "
        "print([name for name in ('tifffile', 'pydicom', 'pi_heif', 'PIL.ImageCms', "
        "'PIL.GifImagePlugin', 'PIL.PngImagePlugin', 'PIL.EpsImagePlugin') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
