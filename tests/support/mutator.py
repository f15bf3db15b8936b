"""Mutants of small photographs in every format that is read, and what becomes of them.

Whatever its bytes are, a file is read or refused in one line: no other error, no other program that
is started. `python tests/support/mutator.py --cases 10000` runs so many for each format; a mutant
is made from its format, the seed and its number alone. With `--bundle` what is read is also judged,
and its finding holds finite numbers only.
"""

import argparse
import io
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import icc
import numpy as np
import tifffile
from damage import damaged
from PIL import Image, features

from ckd.contract.errors import InputError
from ckd.picture.decode import read_picture
from ckd.picture.limits import MAX_PIXELS, MIN_SIDE_PX, Picture
from ckd.runtime.cascade import Cascade

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "system")]


SEED = 0
#: Events of the interpreter by which another program would be started (PEP 578).
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"}


def seeds() -> dict[str, list[bytes]]:
    """Sound files by format: small, and of many kinds. Formats that are not installed lack."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    rgb = Image.fromarray(pixels)
    grey16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = icc.rgb_profile(icc.ADOBE_RGB)
    written: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("JPEG", rgb, {"quality": 85, "exif": exif, "icc_profile": profile}),
        ("JPEG", rgb, {"quality": 85, "progressive": True}),
        ("JPEG", rgb.convert("L"), {}),
        ("JPEG", rgb.convert("CMYK"), {"icc_profile": icc.cmyk_profile()}),
        ("PNG", rgb, {"icc_profile": profile, "exif": exif}),
        ("PNG", rgb.convert("RGBA"), {}),
        ("PNG", rgb.convert("LA"), {}),
        ("PNG", rgb.quantize(32), {"transparency": 3}),
        ("PNG", grey16, {}),
        ("PNG", rgb.convert("1"), {}),
        ("BMP", rgb, {}),
        ("BMP", rgb.quantize(16), {}),
        ("BMP", rgb.convert("RGBA"), {}),
        ("TIFF", rgb, {"compression": "tiff_lzw"}),
        ("TIFF", rgb, {"compression": "jpeg"}),
        ("TIFF", rgb.convert("1"), {"compression": "group4"}),
        ("TIFF", rgb.convert("RGBA"), {"compression": "packbits"}),
        ("TIFF", rgb.quantize(16), {}),
        ("WebP", rgb, {"icc_profile": profile}),
        ("WebP", rgb.convert("RGBA"), {"lossless": True}),
        ("JPEG 2000", rgb, {}),
        ("JPEG 2000", grey16, {"no_jp2": True}),
    ]
    if "avif" in features.get_supported():
        written += [("AVIF", rgb, {"exif": exif}), ("AVIF", rgb.convert("RGBA"), {})]
    found: dict[str, list[bytes]] = {}
    for name, image, options in written:
        buffer = io.BytesIO()
        image.save(buffer, name.replace(" ", ""), **options)
        found.setdefault(name, []).append(buffer.getvalue())
    found["TIFF"] += _deep_tiffs(pixels)
    found["HEIC"] = [path.read_bytes() for path in (ROOT / "tests/assets/heic").iterdir()]
    found["DICOM"] = _dicoms(rgb)
    return {name: files for name, files in found.items() if files}


def mutants(name: str, files: list[bytes], seed: int = SEED) -> Iterator[bytes]:
    """Damaged files without end, each from its own number."""
    number = 0
    while True:
        rng = random.Random(f"{name} {seed} {number}")
        yield damaged(rng, rng.choice(files))
        number += 1


def outcomes(
    name: str, files: list[bytes], count: int, path: Path, seed: int = SEED,
    read: Callable[[Path], Picture] = read_picture,
) -> Counter[str]:  # fmt: skip
    """How many mutants were read, read with a note, and refused; ``path`` is written each time.

    Raises:
        AssertionError: what was read is no photograph, or a refusal is not one line.
        Exception: whatever else than `InputError` came out; ``path`` then holds the mutant.
    """
    counted: Counter[str] = Counter()
    for _, content in zip(range(count), mutants(name, files, seed), strict=False):
        path.write_bytes(content)
        refusal = None
        try:
            picture = read(path)
        except InputError as error:
            refusal = str(error)
        if refusal is not None:
            assert refusal.strip(), "refused without a word"
            assert "\n" not in refusal, refusal
            counted["refused"] += 1
            continue
        height, width, channels = picture.image_HWC.shape
        assert picture.image_HWC.dtype == np.uint8
        assert channels == 3
        assert min(height, width) >= MIN_SIDE_PX
        assert height * width <= MAX_PIXELS
        counted["read with a note" if picture.notes else "read"] += 1
    return counted


def _deep_tiffs(pixels: Any) -> list[bytes]:
    deep = pixels.astype(np.uint16) << 8
    kinds: list[tuple[Any, dict[str, Any]]] = [
        (deep.transpose(2, 0, 1), {"planarconfig": "separate", "photometric": "rgb"}),
        (deep, {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)}),
        (pixels / np.float32(255), {"photometric": "rgb", "rowsperstrip": 16}),
        (deep[..., 0], {"photometric": "miniswhite", "byteorder": ">"}),
    ]
    written = []
    for image, options in kinds:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.ascontiguousarray(image), **options)
        written.append(buffer.getvalue())
    return written


def _dicoms(rgb: Image.Image) -> list[bytes]:
    try:
        import pydicom
        from pydicom.encaps import encapsulate
    except ImportError:
        return []
    written = []
    stream = io.BytesIO()
    rgb.save(stream, "JPEG")
    for syntax, name, pixels in (
        ("1.2.840.10008.1.2.1", "RGB", rgb.tobytes()),
        ("1.2.840.10008.1.2.1", "MONOCHROME1", rgb.convert("L").tobytes()),
        ("1.2.840.10008.1.2.4.50", "YBR_FULL_422", encapsulate([stream.getvalue()])),
    ):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = pydicom.uid.UID("1.2.3")
        dataset.Columns, dataset.Rows = rgb.size
        dataset.PhotometricInterpretation = name
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = (1 if name[0] == "M" else 3), 0
        dataset.BitsStored = dataset.BitsAllocated = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OB"
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        written.append(buffer.getvalue())
    return written


def _refuse_starts(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTS:
        raise AssertionError(f"a program would be started: {event} {arguments}")


def judging(bundle: Path) -> Callable[[Path], Picture]:
    """Reads a file and makes a finding of it, whose JSON holds no infinity and no NaN."""
    cascade = Cascade.load(bundle, "onnxruntime", num_threads=1)

    def read(path: Path) -> Picture:
        picture = read_picture(path)
        cascade.predict(picture.image_HWC).to_json()
        return picture

    return read


def main() -> None:
    """Count the outcomes for each format, or for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", help="one format")
    parser.add_argument("--bundle", type=Path, help="judge what is read with this bundle")
    options = parser.parse_args()
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"mutant-{os.getpid()}"
    found = seeds()
    read = read_picture if options.bundle is None else judging(options.bundle)
    sys.addaudithook(_refuse_starts)
    for name, files in found.items():
        if options.only in (None, name):
            began_s = time.monotonic()
            counted = outcomes(name, files, options.cases, path, options.seed, read)
            most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            taken_s = time.monotonic() - began_s
            print(f"{name}: {dict(sorted(counted.items()))}, {taken_s:.0f} s, {most_mib:.0f} MiB")
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
