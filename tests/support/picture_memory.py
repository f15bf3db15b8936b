"""Peak memory of reading one photograph of 64 megapixels: the table of docs/photographs.md.

    python tests/support/picture_memory.py [WORD ...]

With words, only the files whose names hold one of them. HEIC is measured with a file of one's own,
as what reads it cannot write it. Each file is made in one process and read in another.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import icc
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SIDE = 8000
_READ = """
import sys
from pathlib import Path
from ckd.picture.decode import read_picture

read_picture(Path(sys.argv[1]))
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def photograph(channels: int = 3) -> NDArray[np.uint8]:
    """Skin with a dark spot and a little noise, [SIDE, SIDE, channels], in part transparent."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    spot = 90 * np.exp(-8 * (x * x + y * y))
    noise = np.random.default_rng(0).integers(0, 6, (SIDE, SIDE), np.uint8)
    image = np.empty((SIDE, SIDE, channels), np.uint8)
    for channel, level in enumerate((215, 165, 150)[:channels]):
        image[..., channel] = (level - spot).astype(np.uint8) + noise
    if channels == 4:
        image[..., 3] = 255 - 100 * (x > 0.5)
    return image


def by_pillow(channels: int = 3, mode: str = "", **options: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        image = Image.fromarray(photograph(channels))
        if exif := options.pop("turned", None):
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = exif
        (image.convert(mode) if mode else image).save(path, options.pop("format"), **options)

    return make


def by_tifffile(
    dtype: type[np.generic], factor: float, channels: int = 3, **options: Any
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        image = photograph(max(3, channels))[..., :channels]
        white = np.array(factor, dtype)
        stored: NDArray[Any] = np.multiply(image, white, dtype=white.dtype)
        if options.get("planarconfig") == "separate":
            stored = np.ascontiguousarray(stored.transpose(2, 0, 1))
        kind = "minisblack" if channels == 1 else "rgb"
        tifffile.imwrite(path, stored[..., 0] if channels == 1 else stored, photometric=kind,
                         rowsperstrip=64, **options)  # fmt: skip

    return make


def by_pydicom(jpeg_2000: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import io

        import pydicom
        from pydicom.encaps import encapsulate

        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.7", "1.2.3.4"
        dataset.Rows = dataset.Columns = SIDE
        dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PixelRepresentation = 3, 0, 0
        dataset.BitsStored = dataset.BitsAllocated = 8
        dataset.HighBit = 7
        dataset.PhotometricInterpretation = "YBR_RCT" if jpeg_2000 else "RGB"
        syntax = "1.2.840.10008.1.2.4.90" if jpeg_2000 else "1.2.840.10008.1.2.1"
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        if jpeg_2000:
            buffer = io.BytesIO()
            Image.fromarray(photograph()).save(buffer, "JPEG2000", no_jp2=True, mct=1)
            dataset.PixelData = encapsulate([buffer.getvalue()])
        else:
            dataset.PixelData = photograph().tobytes()
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path, enforce_file_format=True)

    return make


PROFILE = icc.rgb_profile(icc.ADOBE_RGB)
TURNED: Mapping[str, Any] = {"turned": 6, "icc_profile": PROFILE}
ORIENTATION = [(274, 3, 1, 6, True)]
FORMS: Mapping[str, Callable[[Path], None]] = {
    "JPEG": by_pillow(format="JPEG"),
    "JPEG, turned, with a profile": by_pillow(format="JPEG", **TURNED),
    "JPEG, progressive, turned, with a profile": by_pillow(
        format="JPEG", progressive=True, **TURNED
    ),
    "JPEG, CMYK with a profile": by_pillow(
        mode="CMYK", format="JPEG", icc_profile=icc.cmyk_profile()
    ),
    "PNG, turned, with a profile": by_pillow(format="PNG", compress_level=1, **TURNED),
    "PNG, RGBA, turned, with a profile": by_pillow(4, format="PNG", compress_level=1, **TURNED),
    "BMP": by_pillow(format="BMP"),
    "WebP": by_pillow(format="WEBP", method=0),
    "JPEG 2000": by_pillow(format="JPEG2000"),
    "TIFF, 8-bit RGBA": by_tifffile(np.uint8, 1, 4, extrasamples=["UNASSALPHA"]),
    "TIFF, 8-bit LZW": by_pillow(format="TIFF", compression="tiff_lzw"),
    "TIFF, 16-bit planes with a profile": by_tifffile(
        np.uint16, 257, planarconfig="separate", iccprofile=PROFILE
    ),
    "TIFF, float32, turned, with a profile": by_tifffile(
        np.float32, 1 / 255, iccprofile=PROFILE, extratags=ORIENTATION
    ),
    "TIFF, float64": by_tifffile(np.float64, 1 / 255),
    "DICOM, uncompressed": by_pydicom(jpeg_2000=False),
    "DICOM, JPEG 2000": by_pydicom(jpeg_2000=True),
    "AVIF, RGBA": by_pillow(4, format="AVIF", speed=10),
}


def main() -> None:
    if sys.argv[1:2] == ["--make"]:
        FORMS[sys.argv[2]](Path(sys.argv[3]))
        return
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph"
        for name in FORMS:
            if words and not any(word in name for word in words):
                continue
            subprocess.run([sys.executable, __file__, "--make", name, str(path)], check=True)
            reader = [sys.executable, "-c", _READ, str(path)]
            done = subprocess.run(reader, capture_output=True, text=True, check=False)
            print(
                name, done.stdout.strip() or done.stderr.strip().splitlines()[-1], "MiB", flush=True
            )
            path.unlink()


if __name__ == "__main__":
    main()
