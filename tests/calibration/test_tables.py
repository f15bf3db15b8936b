"""The tables of `ckd-calibrate` in a pipe: no cell is cut, however narrow the window is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def piped(*words: str | Path) -> list[list[str]]:
    """The cells of what a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "ckd.calibration.cli", *map(str, words)],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "10"},
    )  # fmt: skip
    return [line.split() for line in done.stdout.splitlines()]


def test_ranges(lesions: Path, tiny_bundle: Path) -> None:
    head, *rows = piped("ranges", lesions, "--bundle", tiny_bundle, "--limit", "2")
    assert head == ["tensor", "low", "high", "mean", "std", "fp16", "headroom"]
    assert "coarse_logits" in {row[0] for row in rows}
    for _, *figures, headroom in rows:
        assert len(figures) == 4
        assert [float(figure) for figure in (*figures, headroom.removesuffix("x"))]


def test_quantize(lesions: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    words = ("--bundle", tiny_bundle, "--method", "minmax", "--float", "cls")
    _, head, *rows = piped("quantize", lesions, "--out", tmp_path / "out", *words)
    assert head == ["network", "float32", "INT8"]
    assert [row[0] for row in rows] == ["rootseg", "cls", "seg_encoder", "seg_decoder"]
    assert rows[1][-2:] == ["in", "float"]
    assert all(row[2] == "MB" for row in rows)


def test_sensitivity(lesions: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    words = ("--bundle", tiny_bundle, "--method", "minmax", "--compared", "1", "--out", tmp_path)
    head, *rows = piped("sensitivity", lesions, *words)
    assert head == ["INT8", "in", "probability", "mask", "worst", "mask"]
    assert ["part", "seg_decoder/knowledge.0"] in [row[:2] for row in rows]
    assert all(len(row) == 5 for row in rows)
