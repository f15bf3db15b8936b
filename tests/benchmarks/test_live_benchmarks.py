"""`ckd-bench settling` and `capture` on a tiny bundle: their files and their figures."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from deciding import let_decide
from tests.capture.rig import LIMITS
from tests.runtime.photographs import edit_spec

from ckd import console
from ckd.benchmarks.cli import cli
from ckd.data.captures import FAULTS
from ckd.data.synthetic import write_isic2017


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isic")
    write_isic2017(root, num_train=1, num_val=4, side_px=64, seed=5)
    return root


@pytest.fixture
def bundle(bundle_copy: Path) -> Path:
    let_decide(bundle_copy)
    return bundle_copy


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(console, "progress_bar", lambda unit: lambda done, total: None)
    monkeypatch.setattr(sys, "argv", ["ckd-bench", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        console.run(cli)
    assert not end.value.code


def test_settling_is_measured(
    data: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run(
        monkeypatch, "settling", "--data", data, "--bundle", bundle, "--frames", 15, "--pairs", 1,
        "--out", tmp_path,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads((tmp_path / "settling.json").read_text())
    assert (figures["num_photographs"], figures["num_frames"]) == (4, 15)
    assert figures["two_lesions"] == 1
    assert 0 <= figures["auc_pooled"] <= 1
    assert figures["flips_pooled"] >= 0
    assert figures["num_answered"] == 4
    assert 0 <= figures["jaccard_pooled"] < 1
    assert (tmp_path / "settling.md").read_text() == capsys.readouterr().out
    assert (tmp_path / "settling.png").stat().st_size > 5000


def test_what_cannot_be_assessed_is_null_and_said(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_isic2017(tmp_path / "isic", num_train=1, num_val=2, side_px=64, seed=5)
    for table in (tmp_path / "isic").glob("*Validation*GroundTruth.csv"):
        head, *rows = table.read_text().splitlines()
        alike = [f"{row.split(',')[0]},0.0,0.0" for row in rows]
        table.write_text("\n".join([head, *alike, ""]))
    words = ("settling", "--data", tmp_path / "isic", "--bundle", bundle, "--frames", 15)
    run(monkeypatch, *words, "--pairs", 0, "--out", tmp_path / "out")
    assert "not assessed" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out/settling.json").read_text(), parse_constant=no_number)
    assert figures["auc_pooled"] is None
    run(monkeypatch, *words, "--pairs", 0, "--json")
    json.loads(capsys.readouterr().out, parse_constant=no_number)


def no_number(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_captures_are_measured(
    data: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    section = {"content": LIMITS, "informative": False}
    edit_spec(bundle, lambda tree: tree["sections"].update(capture=section))
    run(
        monkeypatch, "capture", "--data", data, "--bundle", bundle, "--scenes", 1,
        "--out", tmp_path,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads((tmp_path / "capture.json").read_text())
    photographs = figures["photographs"]
    assert photographs["total"] + photographs["unframed"] == 4
    strong = {hint: photographs["found"][f"{hint} 3"] for hint in FAULTS}
    for named, found, held, total in strong.values():
        assert 0 <= named <= found <= held <= total == 4
    assert sum(group["pictures"] for group in figures["worth"].values()) == 4 * (1 + 9 + 1)
    assert 0 < figures["capture_ms"] < figures["total_ms"]
    text = capsys.readouterr().out
    assert (tmp_path / "capture.md").read_text() == text
    assert "`out_of_focus`" in text
