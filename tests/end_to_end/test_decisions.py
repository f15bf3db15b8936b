"""A bundle that decides, as a user meets it: text, JSON, CSV, overlay, `info`, and both options.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.testing
from deciding import let_decide
from PIL import Image
from tests.end_to_end.ckd_run import COMMAND, ckd_run, photo, read, refused, rows

from ckd.console import prevalence_of
from ckd.contract.errors import UsageError
from ckd.runtime.cascade import Cascade
from ckd.runtime.cli import cli

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")


@pytest.fixture
def deciding_bundle(bundle_copy: Path) -> Path:
    """It takes 4.7 % for melanoma in the photograph of these tests: enough for screening."""
    let_decide(
        bundle_copy,
        at_least={"screening": 0.04, "balanced": 0.2, "specific": 0.8},
        in_set={"MEL": 0.03, "SBK": 0.3, "NEV": 0.3},
        masks_agree=None,
    )
    return bundle_copy


def test_the_decision_comes_first_in_all_that_is_printed_and_written(
    deciding_bundle: Path, tmp_path: Path
) -> None:
    Image.fromarray(photo(320, 480)).save(tmp_path / "case.png")
    run = ckd_run(tmp_path, "image", "case.png", "--bundle", deciding_bundle, "--out", "out")
    assert (run.code, run.errors) == (0, [])
    first, *beneath = run.out.splitlines()
    assert first.startswith(
        "case.png  Referral suggested  nevus 89 %, where 20 % are melanoma  lesion "
    )
    assert [line.strip() for line in beneath] == [
        "The probability of melanoma reaches the threshold.",
        "It may be melanoma.",
        "Possible: melanoma, nevus (such lists hold the right one in 90 %).",
    ]
    record = json.loads((tmp_path / "out" / "case.json").read_text())
    assert record["decision"] == {
        "operating_point": "screening",
        "target": "MEL",
        "flagged": True,
        "label_set": ["MEL", "NEV"],
        "error_rate": 0.1,
        "refer": True,
        "reasons": [
            {"code": "flagged", "text": "The probability of melanoma reaches the threshold."},
            {"code": "set_holds_target", "text": "It may be melanoma."},
        ],
    }
    (row,) = rows(tmp_path / "out" / "findings.csv")
    assert row == {
        "image": "case",
        "outcome": "answer",
        "reason": "",
        "refer": "true",
        "flagged": "true",
        "operating_point": "screening",
        "reasons": "flagged;set_holds_target",
        "label_set": "MEL;NEV",
        "top": "NEV",
        "lesion_area_px": str(record["lesion_area_px"]),
        "time_s": "",
    }
    (row,) = rows(tmp_path / "out" / "predictions.csv")
    assert list(row) == ["image", "MEL", "SBK", "NEV"]
    # The sentences stand on the overlay: light letters on a darkened strip, a row of them for each.
    strip_HW = read(tmp_path / "out" / "case_overlay.png")[:95, :150].min(axis=2)
    assert strip_HW[4, 4] < 0.5 * photo(320, 480)[4, 4].min()
    is_letter_row = (strip_HW > 120).any(axis=1)
    assert np.count_nonzero(np.diff(is_letter_row.astype(int)) == 1) == 6  # two lines for the set


def test_another_point_and_prevalence_are_said_and_only_one_decides(
    deciding_bundle: Path, tmp_path: Path
) -> None:
    Image.fromarray(photo(320, 480)).save(tmp_path / "case.png")
    run = ckd_run(
        tmp_path, "image", "case.png", "--bundle", deciding_bundle, "--out", "out",
        "--operating-point", "specific", "--prevalence", "MEL=0.6", CKD_LANGUAGE="de",
    )  # fmt: skip
    assert (run.code, run.errors) == (0, [])
    first, *beneath = run.out.splitlines()
    assert "Überweisung vorgeschlagen  Nävus 73 %, wenn 60 % der Aufnahmen Melanom" in first
    assert [line.strip() for line in beneath] == [
        "Melanom ist möglich.",
        "Möglich: Melanom, Nävus (solche Listen enthalten in 90 % der Fälle das Richtige).",
        "Arbeitspunkt: specific (Voreinstellung: screening).",
        "Die Häufigkeit wurde gewählt; sie ändert keine Entscheidung.",
    ]
    assert "Melanom 60 %, seborrhoische Keratose 5 %, Nävus 35 %" in run.err
    record = json.loads((tmp_path / "out" / "case.json").read_text())
    assert (record["decision"]["flagged"], record["decision"]["label_set"]) == (
        False, ["MEL", "NEV"],
    )  # fmt: skip
    # The odds of melanoma, by (0.6 / 0.4) / (0.2 / 0.8).
    odds = 6 * record["raw"]["probabilities"]["MEL"] / (1 - record["raw"]["probabilities"]["MEL"])
    assert record["probabilities"]["MEL"] == pytest.approx(odds / (1 + odds), abs=1e-4)
    settings = json.loads((tmp_path / "out" / "run.json").read_text())
    assert settings["operating_point"] == "specific"
    assert settings["prevalence"] == {"MEL": 0.6, "SBK": 0.05, "NEV": 0.35}


def test_wrong_choices_are_one_line_and_code_2(deciding_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "case.png")
    start = ("image", "case.png", "--bundle", deciding_bundle)
    for more, message in (
        (("--operating-point", "best"), "'best': this bundle has screening, balanced, specific"),
        (("--prevalence", "MEL=2%"), "--prevalence MEL=2%: expected LABEL=P"),
    ):
        refused(ckd_run(tmp_path, *start, *more), 2, message)


@pytest.mark.parametrize("text", ["MEL", "=0.2", "MEL=", "MEL=0", "MEL=1", "MEL=nan", "MEL=-0.1"])
def test_a_prevalence_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected LABEL=P with P between 0 and 1"):
        prevalence_of(["SBK=0.1", text])


def test_prevalences_are_read_and_none_is_named_twice() -> None:
    assert prevalence_of(None) == {}
    assert prevalence_of(["MEL=0.02", "SBK=1e-1"]) == {"MEL": 0.02, "SBK": 0.1}
    with pytest.raises(UsageError, match="names MEL twice"):
        prevalence_of(["MEL=0.02", "MEL=0.03"])


@pytest.mark.parametrize("command", ["image", "video", "camera"])
def test_each_command_hands_both_options_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def load(*arguments: Any) -> Cascade:
        given.extend(arguments)
        raise UsageError("far enough")

    monkeypatch.setattr(Cascade, "load", load)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo()).save("case.png")
    _write_clip("clip.avi")
    subject = {"image": ["case.png"], "video": ["clip.avi"]}.get(
        command, ["clip.avi", "--view", "none"]
    )
    options = ["--operating-point", "balanced", "--prevalence", "MEL=0.1", "--prevalence", "A=0.2"]
    ended = typer.testing.CliRunner().invoke(cli, [command, *subject, *options])
    assert str(ended.exception) == "far enough"
    assert given[-2:] == ["balanced", {"MEL": 0.1, "A": 0.2}]


def _write_clip(path: str) -> None:
    import cv2

    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 60))
    writer.write(np.ascontiguousarray(photo()[..., ::-1]))
    writer.release()


def test_info_shows_what_a_bundle_promises(deciding_bundle: Path, tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "info", deciding_bundle, "--prevalence", "MEL=0.02")
    assert (run.code, run.err) == (0, "")
    said = " ".join(run.out.split())
    for words in (
        "decides whether to refer for MEL (melanoma), by default at screening",
        "label sets hold the true label for 90 % of each label's photographs; fitted on 50 MEL, "
        "50 SBK, 50 NEV",
        "doubts none are judged",
        "PPV and NPV where 2 % are melanoma",
        # 0.9 * 0.02 / (0.9 * 0.02 + 0.25 * 0.98) and 0.75 * 0.98 / (0.75 * 0.98 + 0.1 * 0.02)
        "screening 4 % 90.0 % (9 of 10), 55.5 to 99.7 % 75.0 % (30 of 40), 58.8 to 87.3 % "
        "6.8 % (2.7 to 13.8) 99.73 % (98.48 to 99.99)",
    ):
        assert words in said, run.out
    run = ckd_run(tmp_path, "info", deciding_bundle, "--json")
    (told,) = [json.loads(run.out)]
    promises = told.pop("promises")
    assert told == json.loads((deciding_bundle / "cascade.json").read_text())
    assert (promises["target"], promises["default"], promises["prevalence"]) == (
        "MEL", "screening", 0.2,
    )  # fmt: skip
    assert promises["points"]["specific"] == {
        "at_least": 0.8,
        "sensitivity": {"count": 9, "of": 10, "share": 0.9, "interval_95": [0.555, 0.9975]},
        "specificity": {"count": 30, "of": 40, "share": 0.75, "interval_95": [0.588, 0.8731]},
        "ppv": 0.4737,
        "npv": 0.9677,
        "ppv_interval": [0.2519, 0.6627],
        "npv_interval": [0.8409, 0.9993],
    }
    assert promises["sets"]["error_rate"] == 0.1
