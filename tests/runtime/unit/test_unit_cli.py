"""`ckd-run unit`, and `--unit` of the commands that analyse, as a user meets them."""

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lossless_video import write_lossless_video
from numpy.typing import NDArray
from rendered_targets import TINT, drawn_chart, drawn_ruler
from tests.runtime.unit.rig import SIDE, scene, seen
from tests.runtime.unit.test_buttons import event

from ckd.contract.errors import UsageError
from ckd.picture.decode import read_rgb
from ckd.runtime.journal import open_run
from ckd.runtime.journal.reading import Segment
from ckd.runtime.sources import CameraFormat
from ckd.runtime.unit import read_unit
from ckd.runtime.unit.geometry import Geometry
from ckd.runtime.unit.patches import LIGHT_N3
from ckd.runtime.unit_cli import CameraChoice

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "finding.schema.json").read_text())
FIELD = Geometry(field_px=(80, 60, SIDE), rotate_deg=90, mirror=True)
FILE = f"""
name = "Handle"
polarised = false
[camera]
width_px = {SIDE + 60}
height_px = {SIDE + 30}
[picture]
field_px = [80, 60, {SIDE}]
rotate_deg = 90
mirror = true
mm_per_px = 0.02
"""
SAME = ("probabilities", "top", "outline", "lesion_area_px", "size_hw", "raw")


def write_image(path: Path, image_HWC: NDArray[np.uint8]) -> Path:
    cv2.imwrite(str(path), image_HWC[..., ::-1])
    return path


def answers(out: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in out.splitlines()]
    for record in records:
        jsonschema.Draft202012Validator(SCHEMA).validate(record)
    return [{key: record[key] for key in SAME} for record in records]


def test_image_video_and_camera_give_the_plain_cameras_answers(
    run: Any, tmp_path: Path, tiny_bundle: Path
) -> None:
    plain_HWC = scene()
    turned_HWC = seen(plain_HWC, FIELD)
    unit = tmp_path / "handle.toml"
    unit.write_text(FILE)
    write_lossless_video(tmp_path / "turned.avi", [turned_HWC] * 2, fps=10)
    write_image(tmp_path / "plain.png", plain_HWC)
    write_image(tmp_path / "turned.png", turned_HWC)
    common = ("--bundle", tiny_bundle, "--backend", "onnxruntime", "--threads", 1, "--json")
    plain, _ = run("image", "plain.png", *common)
    (expected,) = answers(plain)
    assert "unit" not in json.loads(plain)
    for words in (
        ("image", "turned.png"),
        ("video", "turned.avi"),
        ("camera", "turned.avi", "--view", "none"),
    ):
        out, _ = run(*words, *common, "--unit", unit)
        assert answers(out)[0] == expected, words
        assert json.loads(out.splitlines()[0])["unit"] == {
            "name": "Handle", "mm_per_px": 0.02, "polarised": False, "pressed": False
        }  # fmt: skip
    _, err = run("image", "plain.png", *common, "--unit", unit, code=1)
    assert err == (
        "error: plain.png: is 96 x 96 pixels, and handle.toml is made for 156 x 126; choose a size "
        "that the camera has, and measure field and scale anew\n"
    )
    _, err = run("image", "plain.png", "--unit", tmp_path, code=2)
    assert "is a folder; name the file of the camera" in err


def test_a_press_saves_one_frame_and_is_in_its_json(
    run: Any, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lossless_video(tmp_path / "clip.avi", [scene(index) for index in range(4)], fps=8)
    pipe = tmp_path / "event0"
    os.mkfifo(pipe)
    writing = os.open(pipe, os.O_RDWR)
    monkeypatch.setattr("ckd.runtime.unit.input_devices", lambda *about: [pipe], raising=False)
    (tmp_path / "handle.toml").write_text('name = "Handle"\n[[button]]\ndevice = "/dev/input/e"\n')
    os.write(writing, event(1.0, 1) + event(1.003, 0) + event(1.006, 1) + event(1.4, 0))
    out, err = run(
        "camera", "clip.avi", "--view", "none", "--bundle", tiny_bundle, "--threads", 1, "--json",
        "--backend", "onnxruntime", "--unit", "handle.toml", "--out", "saved", "--journal", "box",
    )  # fmt: skip
    os.close(writing)
    pressed = [
        record for line in out.splitlines() if (record := json.loads(line))["unit"]["pressed"]
    ]
    assert len(pressed) == 1
    (saved,) = Path("saved").glob("*.json")
    record = json.loads(saved.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert record["image"].endswith(".png")
    assert f"clip.avi#{record['frame']}" == pressed[0]["image"]
    assert "saved saved/live_" in err
    lines = [
        line
        for segment in open_run(Path("box")).segments()
        if isinstance(segment, Segment)
        for line in segment.lines
    ]
    assert [line["key"] for line in lines if line["kind"] == "key"] == ["capture"]


def test_the_matrix_of_a_chart_is_printed_or_put_into_the_file(run: Any, tmp_path: Path) -> None:
    write_image(
        tmp_path / "chart.png",
        drawn_chart(LIGHT_N3, tint=TINT, turned_deg=10, patch_px=28, size_hw=(240, 320)),
    )
    out, err = run("unit", "colour", "chart.png", "--picture", "found.png")
    assert "found.png shows what was found" in err
    assert read_rgb(tmp_path / "found.png").shape == (240, 320, 3)
    assert out.startswith("[colour]\nmatrix = [\n")
    assert "colour error (CIEDE2000) before: mean" in err
    (tmp_path / "handle.toml").write_text(FILE)
    run("unit", "colour", "chart.png", "--unit", "handle.toml")
    np.testing.assert_allclose(
        read_unit(tmp_path / "handle.toml").matrix or 0, np.linalg.inv(TINT), atol=0.05
    )
    _, err = run("unit", "colour", "chart.png", "--unit", "handle.toml", code=2)
    assert "has a matrix, and a photograph that was taken with it" in err
    run("unit", "colour", "chart.png", "--unit", "handle.toml", "--replace")
    write_image(tmp_path / "skin.png", scene())
    _, err = run("unit", "colour", "skin.png", code=1)
    assert err.startswith("error: skin.png: no colour chart found")


def test_the_scale_of_a_ruler_is_printed_or_put_into_the_file(run: Any, tmp_path: Path) -> None:
    photo = drawn_ruler(7.3, turned_deg=7, size_hw=(240, 320))
    write_image(tmp_path / "ruler.png", photo)
    out, err = run("unit", "scale", "ruler.png", "--picture", "ticks.png")
    assert (read_rgb(tmp_path / "ticks.png") != photo).any()
    for other in ("ruler.png", "ticks.jpg"):
        _, refused = run("unit", "scale", "ruler.png", "--picture", other, code=2)
        assert refused.startswith(f"error: --picture {other}: expected another file than ruler.png")
    assert (read_rgb(tmp_path / "ruler.png") == photo).all()
    assert out.startswith("[picture]\nmm_per_px = 0.13")
    assert "% (95 %)" in err
    file = tmp_path / "handle.toml"
    file.write_text("[camera]\nwidth_px = 320\nheight_px = 240\n")
    run("unit", "scale", "ruler.png", "--unit", file)
    assert (read_unit(file).mm_per_px or 0) * 7.3 == pytest.approx(1, abs=0.003)
    _, err = run("unit", "scale", "nothing.png", code=1)
    assert err.startswith("error: nothing.png: no such file")


def test_a_format_is_not_asked_for_twice(tmp_path: Path) -> None:
    file = tmp_path / "handle.toml"
    file.write_text('source = "clip.mp4"\n[camera]\ngain = 3\n')
    with pytest.raises(UsageError, match="the unit file says them"):
        CameraChoice.of(file, "clip.mp4", CameraFormat(fps=5))
    with pytest.raises(UsageError, match=r"locks are for USB cameras, and its source is none"):
        CameraChoice.of(file, None, None)
    with pytest.raises(UsageError, match="locks are for USB cameras"):
        CameraChoice.of(file, "csi://0", None)
    assert CameraChoice.of(file, "clip.mp4", None).camera is None  # a recording of it
    assert CameraChoice.of(None, None, None).source == "0"
