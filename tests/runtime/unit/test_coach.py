"""`ckd-run unit coach`: limits by a maker's own captures, and a unit file that sets some."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.capture.rig import LIMITS, blurred, capture, noisy
from tests.runtime.photographs import edit_spec

from ckd.runtime.unit import put_coach, read_unit, written_limit


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
    _, err = run("unit", "coach", captures / "bad", captures / "good", code=1)
    assert "6 captures, expected 20 at least" in err


def test_good_captures_without_a_lesion_fit_nothing(
    run: Any, captures: Path, tmp_path: Path
) -> None:
    black = tmp_path / "black"
    black.mkdir()
    for number in range(20):
        write(black / f"{number}.png", np.zeros((64, 64, 3), np.uint8))
    unit = tmp_path / "handle.toml"
    unit.write_text("")
    _, err = run("unit", "coach", black, captures / "bad", "--unit", unit, code=1)
    assert "20 of 20 captures have nothing to judge" in err
    assert unit.read_text() == ""


@pytest.mark.parametrize(("good", "bad"), [("good", "good"), (".", "bad"), ("good", ".")])
def test_good_and_bad_captures_lie_apart(run: Any, captures: Path, good: str, bad: str) -> None:
    _, err = run("unit", "coach", captures / good, captures / bad, code=2)
    assert "name two folders" in err


def test_what_is_left_out_and_what_is_no_hint_is_said(
    run: Any, captures: Path, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    shutil.copytree(captures / "good", good)
    (good / "gone.jpg").symlink_to("nowhere.jpg")
    _, err = run("unit", "coach", good, captures / "bad")
    assert "1 broken link" in err
    assert "no hint is named other" in err


def test_a_frame_that_was_saved_with_the_unit_is_not_corrected_again(
    run: Any, captures: Path, tmp_path: Path
) -> None:
    unit = tmp_path / "handle.toml"
    finding = {"probabilities": {}, "bundle": "", "backend": "", "precision": ""}

    def fitted(name: str, about: object, *words: object) -> str:
        shutil.copytree(captures / "good", tmp_path / name)
        for photograph in (tmp_path / name).glob("*.png"):
            photograph.with_suffix(".json").write_text(json.dumps({**finding, "unit": about}))
        unit.write_text("[colour]\nmatrix = [[4, 0, 0], [0, 4, 0], [0, 0, 4]]\n")
        out, _ = run("unit", "coach", tmp_path / name, captures / "bad/out_of_focus", *words)
        return str(next(row for row in out.splitlines() if "over_exposed" in row))

    alone = fitted("alone", None)
    assert fitted("saved", {"name": "handle"}, "--unit", unit) == alone
    assert fitted("plain", None, "--unit", unit) != alone


def test_a_link_to_a_unit_file_stays_one_and_limits_are_those_that_were_counted(
    run: Any, captures: Path, tmp_path: Path
) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "link.toml"
    real.write_text("")
    link.symlink_to(real)
    put_coach(link, {"bright": 2.7614e-05, "focus": -4.123456})
    assert link.is_symlink()
    assert read_unit(real).coach == {"bright": written_limit(2.7614e-05), "focus": -4.123}
    assert written_limit(2.7614e-05) == 2.761e-05


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
    for wrong, told in (
        ("fokus = 1.0", "unknown key 'coach.fokus'; did you mean focus?"),
        ("focus = 1e6", "coach.focus: expected a number from -100 to 100, got 1000000.0"),
    ):
        unit.write_text(f"[coach]\n{wrong}\n")
        _, err = run("image", photograph, "--unit", unit, "--out", "out", code=1)
        assert f"{unit}: {told}" in err
