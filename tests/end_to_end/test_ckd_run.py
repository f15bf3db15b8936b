"""`ckd-run` as a user meets it: the installed command, real files, exit codes, no traceback.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import csv
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.hashes import write_hashes
from ckd.contract.version import ckd_version
from ckd.finding.finding import NO_LESION, NOTICE
from ckd.runtime.cascade import embedded_bundle
from ckd.runtime.cli import cli

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

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")


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


# Pictures


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
    image.putalpha(Image.new("L", image.size, 40))
    image.save(path)


def _sixteen_bit(path: Path) -> None:
    grey_HW = np.asarray(Image.fromarray(photo()).convert("L"))
    Image.fromarray(grey_HW.astype(np.uint16) * 256).save(path)


def _palette(path: Path) -> None:
    image = Image.fromarray(photo()).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    image.save(path, transparency=bytes([0, 100]))


def _sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(90, 60)).save(path, exif=exif)


GOOD_IMAGES: dict[str, Callable[[Path], object]] = {
    "colour.png": lambda path: Image.fromarray(photo()).save(path),
    "grey.png": lambda path: Image.fromarray(photo()).convert("L").save(path),
    "rgba.png": _rgba,
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


# Images


def test_one_image_gives_a_line_and_four_files(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "colour.png", "--bundle", tiny_bundle)
    assert (run.code, run.errors) == (0, [])
    assert run.out.startswith("colour.png  ")
    assert len(run.out.splitlines()) == 1
    assert NOTICE in run.err
    out = tmp_path / "runs" / "image"
    assert sorted(path.name for path in out.iterdir()) == [
        "colour.json",
        "colour_mask.png",
        "colour_overlay.png",
        "predictions.csv",
        "run.json",
    ]
    mask = read(out / "colour_mask.png")
    assert mask.shape == (60, 90)
    assert set(np.unique(mask)) == {0, 255}
    assert read(out / "colour_overlay.png").shape == (60, 90, 3)
    record = json.loads((out / "colour.json").read_text())
    assert record["lesion_area_px"] == int((mask == 255).sum())
    (row,) = rows(out / "predictions.csv")
    assert list(row) == ["image", *LABELS]
    assert row.pop("image") == "colour"
    assert {k: float(v) for k, v in row.items()} == pytest.approx(record["probabilities"])
    settings = json.loads((out / "run.json").read_text())
    assert settings["command"] == ["image", "colour.png", "--bundle", str(tiny_bundle)]
    assert settings["ckd"] == ckd_version()


def test_in_a_folder_bad_files_are_reported_and_the_rest_is_done(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = make(tmp_path / "photos", {**GOOD_IMAGES, **BAD_IMAGES})
    (folder / "notes.txt").write_text("not an image, and not asked for")
    run = ckd_run(tmp_path, "image", folder, "--bundle", tiny_bundle, "--out", "out", "--json")
    assert run.code == 1
    # One line for each bad file, then where the results are, then the summary; nothing else.
    assert len(run.err.splitlines()) == len(BAD_IMAGES) + 2
    for name in BAD_IMAGES:
        assert len([line for line in run.errors if name in line]) == 1, name
    total = len(BAD_IMAGES) + len(GOOD_IMAGES)
    assert run.err.splitlines()[-1] == (
        f"error: {len(BAD_IMAGES)} of {total} images could not be analysed, see above"
    )
    assert {Path(record["image"]).name for record in run.records} == {
        Path(name).name for name in GOOD_IMAGES
    }
    stems = {Path(name).stem for name in GOOD_IMAGES}
    assert {row["image"] for row in rows(tmp_path / "out" / "predictions.csv")} == stems
    for stem in stems:
        assert read(tmp_path / "out" / f"{stem}_mask.png").shape == (60, 90), stem
    # The same picture in other clothes.
    by_name = {Path(record["image"]).stem: record["probabilities"] for record in run.records}
    for same in ("rgba", "palette", "deeper"):
        assert by_name[same] == pytest.approx(by_name["colour"], abs=1e-5), same
    assert by_name["16_bit"] == pytest.approx(by_name["grey"], abs=1e-5)


@pytest.mark.parametrize("name", [*BAD_IMAGES, "missing.jpg"])
def test_a_bad_image_alone_is_one_line_and_code_1(
    tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    make(tmp_path, {name: BAD_IMAGES.get(name, lambda path: None)})
    refused(ckd_run(tmp_path, "image", name, "--bundle", tiny_bundle), 1, name)


def test_a_folder_without_images_is_one_line_and_code_1(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.jpg" / "below.png").mkdir(parents=True)
    run = ckd_run(tmp_path, "image", "folder.jpg", "--bundle", tiny_bundle)
    refused(run, 1, "folder.jpg: no images in this folder")


def test_every_json_line_has_what_is_promised(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"], "grey.png": GOOD_IMAGES["grey.png"]})
    run = ckd_run(
        tmp_path, "image", "colour.png", "gone.png", "grey.png", "--bundle", tiny_bundle, "--json"
    )
    assert (run.code, len(run.errors)) == (1, 2)
    assert [record["image"] for record in run.records] == ["colour.png", "grey.png"]
    for record in run.records:
        assert set(record) >= KEYS
        assert record["size_hw"] == [60, 90]
        assert list(record["probabilities"]) == list(LABELS)
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert record["top"] == max(LABELS, key=record["probabilities"].__getitem__)
        mask = read(tmp_path / record["mask"])
        assert record["lesion_area_px"] == int((mask == 255).sum())
        assert list(record["timings_ms"]) == ["preprocess", *NODES, "postprocess", "total"]
        assert min(record["timings_ms"].values()) > 0
        assert record["bundle"].startswith("tiny@")
        assert (record["backend"], record["precision"]) == ("onnxruntime", "fp32")


def test_images_of_one_name_do_not_overwrite_each_other(tiny_bundle: Path, tmp_path: Path) -> None:
    write = GOOD_IMAGES["colour.png"]
    folder = make(tmp_path / "in", {f"{n}/case.png": write for n in "abc"})
    make(folder, {"case.bmp": write})
    run = ckd_run(tmp_path, "image", "in", "--bundle", tiny_bundle, "--json")
    assert run.code == 0
    masks = [record["mask"] for record in run.records]
    assert len(set(masks)) == len(masks) == 4
    assert all((tmp_path / mask).exists() for mask in masks)
    names = [row["image"] for row in rows(tmp_path / "runs" / "image" / "predictions.csv")]
    assert len(set(names)) == 4


def test_results_are_not_written_among_the_images(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path / "photos", {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "photos", "--bundle", tiny_bundle, "--out", "photos")
    refused(run, 2, "photos: results cannot go among the images; name another --out")


def test_a_photograph_named_run_keeps_its_place_and_leaves_the_settings(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    make(tmp_path, {"run.png": GOOD_IMAGES["colour.png"]})
    ckd_run(tmp_path, "image", "run.png", "--bundle", tiny_bundle, "--out", "out")
    assert "command" in json.loads((tmp_path / "out" / "run.json").read_text())
    assert json.loads((tmp_path / "out" / "run.png.json").read_text())["image"] == "run.png"


def test_earlier_results_are_not_taken_for_images(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    for _ in range(2):
        run = ckd_run(tmp_path, "image", ".", "--bundle", tiny_bundle, "--json")
        assert (run.code, [record["image"] for record in run.records]) == (0, ["colour.png"])


@pytest.mark.parametrize("as_json", [False, True])
def test_an_image_without_a_lesion_is_not_diagnosed_in_silence(
    bundle_copy: Path, tmp_path: Path, as_json: bool
) -> None:
    _edit_manifest(bundle_copy, lambda tree: tree["thresholds"].update(mask=1 - 1e-9))
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    options = ("--json",) if as_json else ()
    run = ckd_run(tmp_path, "image", "colour.png", "--bundle", bundle_copy, *options)
    assert (run.code, run.errors) == (0, [])
    assert NO_LESION in run.out
    stored = json.loads((tmp_path / "runs" / "image" / "colour.json").read_text())
    assert stored["lesion_area_px"] == 0
    assert stored["notice"] == f"{NO_LESION} {NOTICE}"
    assert "mask_agreement" not in stored["quality"]  # two empty masks agree about nothing


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_file_name_that_is_no_text_is_no_obstacle(tiny_bundle: Path, tmp_path: Path) -> None:
    name = b"caf\xe9.png"  # Latin-1, as old cards and archives have it
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(  # noqa: PTH118
        cv2.imencode(".png", photo())[1].tobytes()
    )
    for arguments in ((name, b"gone\xff.png"), (name, b"gone\xff.png", "--json")):
        run = ckd_run(tmp_path, "image", *arguments, "--bundle", tiny_bundle)
        assert (run.code, len(run.errors)) == (1, 2)
        assert "caf" in run.out
    (row,) = rows(tmp_path / "runs" / "image" / "predictions.csv")
    assert os.fsencode(row["image"]) == b"caf\xe9"


# Bundles


def _edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((folder / "cascade.json").read_text())
    change(tree)
    (folder / "cascade.json").write_text(json.dumps(tree))
    write_hashes(folder)


def _flip_byte(folder: Path) -> None:
    content = bytearray((folder / "cls.fp32.onnx").read_bytes())
    content[1000] ^= 1
    (folder / "cls.fp32.onnx").write_bytes(content)


#: What is done to the bundle -> exit code and words of the one line.
BAD_BUNDLES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "changed byte": (_flip_byte, 5, "cls.fp32.onnx was changed since the bundle was made"),
    "missing file": (
        lambda folder: (folder / "cls.fp32.onnx").unlink(),
        5,
        "cls.fp32.onnx is missing; the bundle is incomplete",
    ),
    "missing node": (
        lambda folder: _edit_manifest(folder, lambda tree: tree["nodes"].pop(2)),
        5,
        "seg_decoder needs 'g0', which no node before it produces",
    ),
    "wrong shape": (
        lambda folder: _edit_manifest(
            folder, lambda tree: tree["tensors"]["gate1"].update(shape=[1, 4, 9, 8])
        ),
        5,
        "rootseg: the file takes image uint8[1, 32, 32, 3]",
    ),
    "unknown schema": (
        lambda folder: _edit_manifest(folder, lambda tree: tree.update(schema=99)),
        5,
        "cascade.json: schema 99, this version of ckd reads 2",
    ),
    "no bundle": (lambda folder: folder.rename(folder.with_name("moved")), 5, "no such bundle"),
    "not a bundle": (
        lambda folder: (folder / "hashes.json").unlink(), 5, "hashes.json is missing"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BUNDLES)
def test_a_bad_bundle_is_one_line_and_its_code(
    bundle_copy: Path, tmp_path: Path, case: str
) -> None:
    damage, code, message = BAD_BUNDLES[case]
    damage(bundle_copy)
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    refused(ckd_run(tmp_path, "image", "colour.png", "--bundle", bundle_copy), code, message)
    assert not (tmp_path / "runs").exists()


def test_a_request_that_cannot_be_met_is_a_usage_error(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    start = ("image", "colour.png", "--bundle", tiny_bundle)
    for more, message in (
        (("--precision", "fp16"), "no fp16 networks in this bundle; it has fp32"),
        (("--backend", "tpu"), "unknown backend 'tpu'"),
        (("--out", "colour.png"), "colour.png: cannot write results there"),
    ):
        refused(ckd_run(tmp_path, *start, *more), 2, message)
    run = ckd_run(tmp_path, *start, "--no-such-option")
    assert (run.code, run.out) == (2, "")
    assert "--no-such-option" in run.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_a_usage_error(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    (tmp_path / "closed").mkdir(mode=0o500)
    for out in ("closed", "closed/below"):
        run = ckd_run(tmp_path, "image", "colour.png", "--bundle", tiny_bundle, "--out", out)
        refused(run, 2, f"{out}: cannot write results there")


def test_settings_come_from_the_environment_and_flags_win(
    bundle_copy: Path, tmp_path: Path
) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "colour.png", "--json", CKD_BUNDLE=str(bundle_copy))
    assert run.records[0]["bundle"].startswith("tiny@")
    run = ckd_run(
        tmp_path, "image", "colour.png", "--bundle", "nowhere", CKD_BUNDLE=str(bundle_copy)
    )
    refused(run, 5, "nowhere: no such bundle")


# Videos and cameras


def write_video(path: Path, num_frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 60))
    for index in range(num_frames):
        shifted = np.roll(photo(), 3 * index, axis=1)
        writer.write(np.ascontiguousarray(shifted[..., ::-1]))
    writer.release()
    return path


def num_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_a_video_gives_an_overlay_of_as_many_frames(tiny_bundle: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 7)
    run = ckd_run(tmp_path, "video", "clip.avi", "--bundle", tiny_bundle, "--out", "out", "--json")
    assert (run.code, run.errors) == (0, [])
    assert num_frames(tmp_path / "out" / "clip_overlay.mp4") == 7
    table = rows(tmp_path / "out" / "predictions.csv")
    assert [row["image"] for row in table] == [f"clip_{index:06d}" for index in range(7)]
    assert list(table[0]) == ["image", *LABELS]
    assert [record["image"] for record in run.records] == [f"clip.avi#{n}" for n in range(7)]
    assert all(set(record) >= KEYS - {"mask"} for record in run.records)
    assert "7 frames" in run.err
    # Again over the old results, and not to the end.
    run = ckd_run(
        tmp_path, "video", "clip.avi", "--bundle", tiny_bundle, "--out", "out", "--max-frames", "3"
    )
    assert (run.code, run.out) == (0, "")
    assert num_frames(tmp_path / "out" / "clip_overlay.mp4") == 3
    assert len(rows(tmp_path / "out" / "predictions.csv")) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.mp4", "gone.mp4: no such file"),
        ("words.mp4", "not a video that OpenCV can read"),
        ("still.png", "is an image, expected a video; use `ckd-run image`"),
    ],
)
def test_what_is_no_video_is_one_line_and_code_6(
    tiny_bundle: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "words.mp4").write_text("words")
    GOOD_IMAGES["colour.png"](tmp_path / "still.png")
    refused(ckd_run(tmp_path, "video", name, "--bundle", tiny_bundle), 6, message)


def test_an_overlay_that_was_cut_off_does_not_pass_for_a_whole_one(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.avi", 30)
    start = ("video", "clip.avi", "--bundle", tiny_bundle, "--out", "out")
    overlay, part = tmp_path / "out/clip_overlay.mp4", tmp_path / "out/clip_overlay.part.mp4"
    assert ckd_run(tmp_path, *start, "--max-frames", "3").code == 0
    assert (overlay.exists(), part.exists()) == (True, False)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    run = ckd_run(tmp_path, *start)
    assert (run.code, len(run.errors)) == (6, 1)
    assert "the overlay up to here is in out/clip_overlay.part.mp4" in run.err
    assert not overlay.exists()  # nor the one of before
    assert 0 < num_frames(part) == len(rows(tmp_path / "out" / "predictions.csv")) < 30


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_video_keeps_the_part_that_is_done(
    tiny_bundle: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    write_video(tmp_path / "clip.avi", 3000)
    process = subprocess.Popen(
        [COMMAND, "video", "clip.avi", "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(10):
        process.stdout.readline()
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err, err
    part = Path("runs/video/clip_overlay.part.mp4")
    told = [f"not finished: the overlay up to here is in {part}", "interrupted"]
    assert err.splitlines()[-2:] == told
    assert 9 <= num_frames(tmp_path / part) < 3000
    assert not (tmp_path / "runs/video/clip_overlay.mp4").exists()


def test_a_recording_is_watched_like_a_camera(tiny_bundle: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 20)
    start = ("camera", "clip.avi", "--view", "none", "--bundle", tiny_bundle)
    run = ckd_run(tmp_path, *start, "--max-frames", "3", "--json", "--record", "seen.avi")
    assert (run.code, run.errors, len(run.records)) == (0, [], 3)
    assert all(set(record) >= KEYS - {"mask"} for record in run.records)
    assert run.err.splitlines()[-1].startswith("max frames: 3 frames analysed, ")
    assert num_frames(tmp_path / "seen.avi") >= 3
    refused(ckd_run(tmp_path, *start, "--record", "seen.avi"), 2, "seen.avi: exists already")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_unreachable_camera_is_one_line_and_code_6(tiny_bundle: Path, tmp_path: Path) -> None:
    url = f"http://me:secret@127.0.0.1:{free_port()}/video"
    run = ckd_run(tmp_path, "camera", url, "--view", "none", "--bundle", tiny_bundle)
    refused(run, 6, "no video stream")
    assert "secret" not in run.err
    run = ckd_run(tmp_path, "camera", "/dev/video97", "--view", "none", "--bundle", tiny_bundle)
    refused(run, 6, "/dev/video97")


@contextmanager
def mjpeg_camera() -> Iterator[str]:
    """A network camera on the loopback address; gives its URL."""
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(photo()[..., ::-1]))[1].tobytes()
    head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
            self.end_headers()
            try:
                while not stop.wait(0.02):
                    self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return  # the client has closed

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://me:secret@127.0.0.1:{server.server_port}/video"
        finally:
            stop.set()
            server.shutdown()
            thread.join()


def hears_ctrl_c() -> None:
    """In the child: tests in the background of a shell hand down that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_live_camera_cleanly(
    tiny_bundle: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    with mjpeg_camera() as url:
        process = subprocess.Popen(
            [COMMAND, "camera", url, "--view", "none", "--json", "--record", "seen.avi",
             "--bundle", tiny_bundle],
            cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c,
        )  # fmt: skip
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())  # it is live now
        time.sleep(0.3)
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "frames analysed" in err
    assert set(first) >= KEYS - {"mask"}
    assert "secret" not in json.dumps(first) + out + err
    assert num_frames(tmp_path / "seen.avi") > 0
    assert not list(tmp_path.glob("*.part*"))


def test_ctrl_c_among_many_images_keeps_what_is_done(tiny_bundle: Path, tmp_path: Path) -> None:
    large = cv2.imencode(".png", np.ascontiguousarray(photo(1200, 1600)))[1].tobytes()
    (tmp_path / "in").mkdir()
    for number in range(200):
        (tmp_path / "in" / f"{number:03d}.png").write_bytes(large)
    process = subprocess.Popen(
        [COMMAND, "image", "in", "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err, err
    done = 1 + len(out.splitlines())
    assert done < 200
    assert len(rows(tmp_path / "runs" / "image" / "predictions.csv")) in (done, done + 1)


def test_a_reader_that_has_gone_is_no_error_worth_a_traceback(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """As in ``ckd-run image photos --json | head -1``."""
    folder = make(tmp_path / "in", {f"{n}.png": GOOD_IMAGES["colour.png"] for n in range(30)})
    process = subprocess.Popen(
        [COMMAND, "image", folder, "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.wait(timeout=30) in (0, 1)
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err


# About the bundle and the machine


def test_info_shows_what_a_bundle_holds(tiny_bundle: Path, tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "info", tiny_bundle)
    assert (run.code, run.err) == (0, "")
    for words in ("tiny", "uint8 RGB 32x32", "MEL (melanoma)", "fp32", "none: weights are random"):
        assert words in run.out
    for node in NODES:
        assert any(line.startswith(node) for line in run.out.splitlines())
    run = ckd_run(tmp_path, "info", tiny_bundle, "--json")
    assert run.out.rstrip("\n") == (tiny_bundle / "cascade.json").read_text().rstrip("\n")


def test_info_on_a_bad_bundle_is_one_line_and_code_5(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "cascade.json").write_text("{}")
    refused(ckd_run(tmp_path, "info", bundle_copy), 5, "cascade.json was changed")


def test_the_doctor_finds_this_machine_fit(tiny_bundle: Path, tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "doctor", tiny_bundle)
    assert (run.code, run.err) == (0, "")
    assert "problem" not in run.out
    assert "4 acceptance cases passed" in run.out
    run = ckd_run(tmp_path, "doctor", tiny_bundle, "--json")
    checks = {check["what"]: check["status"] for check in json.loads(run.out)}
    assert checks["bundle"] == checks["onnxruntime"] == "ok"


def test_the_doctor_names_a_broken_bundle_and_ends_with_its_exit_code(
    bundle_copy: Path, tmp_path: Path
) -> None:
    _flip_byte(bundle_copy)
    run = ckd_run(tmp_path, "doctor", bundle_copy)
    assert run.code == 5
    assert len(run.err.splitlines()) == len(run.errors) == 1
    (line,) = (line for line in run.out.splitlines() if line.startswith("problem"))
    assert "cls.fp32.onnx was changed" in line


@pytest.mark.skipif(not embedded_bundle().is_dir(), reason="no bundle is embedded yet")
def test_without_any_flag_the_embedded_bundle_is_used(tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "colour.png", "--json")
    assert run.code == 0
    assert run.records[0]["bundle"].startswith("ckdnet-mobile@")


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "--version")
    assert (run.code, run.out.strip(), run.err) == (0, ckd_version(), "")


SUBCOMMANDS = [command.name for command in cli.registered_commands if command.name]


def test_the_subcommands_are_the_documented_ones() -> None:
    assert sorted(SUBCOMMANDS) == ["camera", "doctor", "image", "info", "video"]


@pytest.mark.parametrize("command", ["", *SUBCOMMANDS])
def test_help_is_there_for_every_command(tmp_path: Path, command: str) -> None:
    run = ckd_run(tmp_path, *filter(None, [command]), "--help")
    assert (run.code, run.err) == (0, "")
    assert f"ckd-run {command}".strip() in run.out
    if command in ("image", "video", "camera"):
        for flag in ("--bundle", "--backend", "--device", "--precision", "--out", "--json"):
            assert flag in run.out
