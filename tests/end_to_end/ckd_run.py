"""`ckd-run` as a process, and good and bad images for it.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import csv
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.hashes import write_hashes

COMMAND = Path(sys.executable).with_name("ckd-run")
LABELS = ("MEL", "SBK", "NEV")
NODES = ("rootseg", "cls", "seg_encoder", "seg_decoder")
#: What is promised of every line of --json.
KEYS = {
    "image",
    "size_hw",
    "probabilities",
    "top",
    "lesion_area_px",
    "mask",
    "timings_ms",
    "bundle",
    "backend",
    "precision",
}


@dataclass(frozen=True)
class Run:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def environment() -> dict[str, str]:
    """Without this machine's settings, and wide enough that no help is wrapped."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CKD_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}


def ckd_run(cwd: Path, *arguments: str | Path | bytes, **variables: str) -> Run:
    done = subprocess.run(
        [os.fsencode(COMMAND), *map(os.fsencode, arguments)],
        cwd=cwd,
        # Which backend is fastest here is tested elsewhere.
        env={**environment(), "CKD_BACKEND": "onnxruntime", **variables},
        capture_output=True,
        timeout=60,
    )
    run = Run(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in run.err, run.err
    assert "Warning" not in run.err, run.err
    return run


def refused(run: Run, code: int, message: str) -> None:
    """Exactly one line on stderr, nothing on stdout."""
    assert run.code == code, run.err
    assert run.out == ""
    assert len(run.err.splitlines()) == 1, run.err
    assert run.err.startswith("error: ")
    assert message in run.err


def photo(height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    spot_HW = y**2 + x**2 < 0.3
    return np.where(spot_HW[..., None], (110, 70, 60), (225, 180, 160)).astype(np.uint8)


def png_header(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _cut(path: Path) -> None:
    Image.fromarray(photo(300, 400)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


#: File name -> how to make it.
BAD_IMAGES: dict[str, Callable[[Path], object]] = {
    "text.jpg": lambda path: path.write_text("words, words\n"),
    "empty.png": lambda path: path.touch(),
    "cut.jpg": _cut,
    "cut.png": _cut,
    "dot.png": lambda path: Image.new("RGB", (1, 1)).save(path),
    "flat.bmp": lambda path: Image.new("L", (400, 3)).save(path),
    "100_megapixels.png": lambda path: path.write_bytes(
        png_header(10_000, 10_000, (b"\0" + bytes(1250)) * 10_000)
    ),
    "vast_header.png": lambda path: path.write_bytes(png_header(2**30, 2**30, b"")),
}


def _rgba(path: Path) -> None:
    image = Image.fromarray(photo())
    image.putalpha(255)
    image.save(path)


def _cut_out(path: Path) -> None:
    """The spot alone; below what is transparent lie other colours."""
    image_HWC = photo()
    alpha_HW = np.where(image_HWC[..., 0] == 110, 255, 0).astype(np.uint8)
    image_HWC[alpha_HW == 0] = (0, 90, 0)
    Image.fromarray(np.dstack([image_HWC, alpha_HW])).save(path)


def _on_white(path: Path) -> None:
    image_HWC = photo()
    image_HWC[image_HWC[..., 0] != 110] = 255
    Image.fromarray(image_HWC).save(path)


def _sixteen_bit(path: Path) -> None:
    grey_HW = np.asarray(Image.fromarray(photo()).convert("L"))
    Image.fromarray(grey_HW.astype(np.uint16) * 256).save(path)


def _palette(path: Path) -> None:
    image = Image.fromarray(photo()).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    image.save(path, transparency=bytes([255, 255]))


def _sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(90, 60)).save(path, exif=exif)


GOOD_IMAGES: dict[str, Callable[[Path], object]] = {
    "colour.png": lambda path: Image.fromarray(photo()).save(path),
    "grey.png": lambda path: Image.fromarray(photo()).convert("L").save(path),
    "rgba.png": _rgba,
    "cut_out.png": _cut_out,
    "on_white.png": _on_white,
    "16_bit.png": _sixteen_bit,
    "palette.png": _palette,
    "cmyk.jpg": lambda path: Image.fromarray(photo()).convert("CMYK").save(path),
    "sideways.jpg": _sideways,
    "below/deeper.TIF": lambda path: Image.fromarray(photo()).save(path, format="TIFF"),
}


def make(folder: Path, images: dict[str, Callable[[Path], object]]) -> Path:
    for name, write in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    return folder


def read(path: Path) -> NDArray[np.uint8]:
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None, path
    return np.asarray(stored, dtype=np.uint8)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def edit_spec(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((folder / "cascade.json").read_text())
    change(tree)
    (folder / "cascade.json").write_text(json.dumps(tree))
    write_hashes(folder)


def flip_byte(folder: Path) -> None:
    content = bytearray((folder / "cls.fp32.onnx").read_bytes())
    content[1000] ^= 1
    (folder / "cls.fp32.onnx").write_bytes(content)


def hears_ctrl_c() -> None:
    """In the child: tests in the background of a shell hand down that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
