"""`ckd-run unit coach`: limits by a maker's own captures, and a unit file that sets some."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.capture.rig import LIMITS, blurred, capture, noisy
from tests.runtime.photographs import edit_spec

from ckd.runtime.unit import read_unit


@pytest.fixture(autouse=True)
def bundle(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bundle, which judges captures."""
    section = {"content": LIMITS, "informative": False}
    edit_spec(bundle_copy, lambda tree: tree.update(sections={"capture": section}))
    monkeypatch.setenv("CKD_BUNDLE", str(bundle_copy))
    monkeypatch.setenv("CKD_BACKEND", "onnxruntime")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty good captures, and bad ones in a folder named as their hint, and in another."""
    folder = tmp_path_factory.mktemp("captures")
    image_HWC = np.asarray(
        cv2.resize(capture()[0], (320, 320), interpolation=cv2.INTER_AREA), np.uint8
    )
    for name in ("good", "bad/out_of_focus", "bad/other"):
        (folder / name).mkdir(parents=True)
    for number in range(20):
        write(
            folder / f"good/{number}.png", noisy(np.roll(image_HWC, 2 * number, 1), 1 + number / 9)
        )
    for number in range(5):
        write(folder / f"bad/out_of_focus/{number}.png", blurred(image_HWC, 5 + number / 5))
    write(folder / "bad/other/0.png", np.zeros_like(image_HWC))
    return folder


def write(path: Path, image_HWC: Any) -> None:
    assert cv2.imwrite(str(path), image_HWC[..., ::-1])


def test_limits_are_fitted_to_good_captures_and_written_into_the_unit_file(
    run: Any, captures: Path, tmp_path: Path
) -> None:
    unit = tmp_path / "handle.toml"
    unit.write_text('name = "Handle"  # kept\n[coach]\nfocus = -9.0\n')
    words = ("unit", "coach", captures / "good", captures / "bad")
    out, err = run(*words, "--unit", unit, "--false-rejects", 0.05)
    assert f"written into {unit}" in err
    assert "6 of 6 bad ones are caught" in err
    assert "5 of 5" in out  # of those that are out of focus
    coach = read_unit(unit).coach
    assert {"focus", "motion"} <= set(coach)
    assert not set(coach) & {"light", "cut_off", "width", "off_centre"}  # these are set
    assert -9 < coach["focus"] < 0
    assert "# kept" in unit.read_text()
    printed, _ = run(*words)
    assert "[coach]" in printed
    assert printed.count(" = ") == len(coach)


def test_too_few_good_captures_are_refused(run: Any, captures: Path) -> None:
    _, err = run("unit", "coach", captures / "bad", captures / "bad", code=1)
    assert "6 captures, expected 20 at least" in err


def test_a_unit_file_moves_limits_and_a_wrong_name_is_refused(
    run: Any, captures: Path, tmp_path: Path
) -> None:
    unit, photograph = tmp_path / "handle.toml", captures / "good/0.png"
    hints = {}
    for limit in (-9.0, 9.0):
        unit.write_text(f"[coach]\nfocus = {limit}\n")
        out, _ = run("image", photograph, "--unit", unit, "--json", "--out", "out")
        hints[limit] = [hint["code"] for hint in json.loads(out)["capture"]["hints"]]
    assert "out_of_focus" not in hints[-9.0]
    assert "out_of_focus" in hints[9.0]
    unit.write_text("[coach]\nfokus = 1.0\n")
    _, err = run("image", photograph, "--unit", unit, "--out", "out", code=2)
    assert "no check 'fokus'; expected focus, motion" in err
