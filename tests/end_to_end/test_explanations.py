"""What speaks for a label, as the installed commands give it.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import num_frames
from numpy.typing import NDArray

from ckd.data.synthetic.write import dermoscopy
from ckd.finding.explanation import draw_explanation
from ckd.picture.decode import read_rgb
from ckd.runtime import Cascade

BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not (BIN / "ckd-run").exists(), reason="ckd is not installed here")


def command(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    name, *rest = arguments
    done = subprocess.run(
        [BIN / name, *rest],
        cwd=cwd,
        env={**os.environ, "CKD_BACKEND": "onnxruntime"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def picture(path: Path) -> NDArray[np.uint8]:
    stored = cv2.imread(str(path))
    assert stored is not None
    return np.asarray(stored[..., ::-1], np.uint8)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(2):
        image_HWC = dermoscopy(seed, 200).image_HWC
        cv2.imwrite(str(folder / f"case{seed}.png"), image_HWC[..., ::-1])
    return folder


def test_every_image_gets_its_explanation_and_the_json_names_it(
    explained_bundle: Path, photographs: Path, tmp_path: Path
) -> None:
    done = command(
        tmp_path, "ckd-run", "image", photographs, "--bundle", explained_bundle, "--json"
    )
    out = tmp_path / "runs" / "image"
    kinds = ("mask.png", "overlay.png", "explanation.png")
    expected = {f"case{n}_{kind}" for n in (0, 1) for kind in kinds}
    expected |= {"case0.json", "case1.json", "findings.csv", "predictions.csv", "run.json"}
    assert {path.name for path in out.iterdir()} == expected
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 2
    with Cascade.load(explained_bundle, "onnxruntime") as cascade:
        for record in records:
            image_HWC = read_rgb(Path(record["image"]))
            finding = cascade.predict(image_HWC)
            drawn_HWC = picture(tmp_path / record["explanation"])
            np.testing.assert_array_equal(drawn_HWC, draw_explanation(image_HWC, finding))
            assert "class_maps" not in record


def test_a_bundle_without_maps_writes_no_explanation(
    tiny_bundle: Path, photographs: Path, tmp_path: Path
) -> None:
    done = command(tmp_path, "ckd-run", "image", photographs, "--bundle", tiny_bundle, "--json")
    assert "explanation" not in done.stdout
    assert not list((tmp_path / "runs" / "image").glob("*_explanation*"))


def test_a_video_gets_a_video_of_explanations(explained_bundle: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (200, 200))
    for seed in range(12):
        writer.write(np.ascontiguousarray(dermoscopy(seed, 200).image_HWC[..., ::-1]))
    writer.release()
    command(tmp_path, "ckd-run", "video", "clip.avi", "--bundle", explained_bundle, "--out", "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"clip_overlay.mkv", "clip_explanation.mkv"}
    assert not any(".part" in name for name in names)
    assert num_frames(tmp_path / "out" / "clip_explanation.mkv") == 12
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])  # damaged: both stay parts
    done = subprocess.run(
        [BIN / "ckd-run", "video", "clip.avi", "--bundle", explained_bundle, "--out", "out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "the explanation up to here is in out/clip_explanation.part.mkv" in done.stderr
    assert not (tmp_path / "out" / "clip_explanation.mkv").exists()


def test_the_bundle_is_verified_and_shown_by_the_commands(
    explained_bundle: Path, tmp_path: Path
) -> None:
    verified = command(tmp_path, "ckd-export", "verify", explained_bundle).stdout
    assert "acceptance cases passed: 4 in fp32, 4 in fp16" in verified
    assert "class_map" in command(tmp_path, "ckd-run", "info", explained_bundle).stdout
