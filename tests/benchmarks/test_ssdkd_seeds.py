"""The study of SSD-KD over several seeds: every way is trained and scored, the teacher once."""

import functools
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

pytest.importorskip("lightning", reason="needs PyTorch")

from ckd.data.synthetic.write import write_isic2017

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ssdkd_seeds.py"
SETTINGS = (
    "image_size=64", "system.student=mnasnet0_5", "stages.student.epochs=1",
    "stages.student.batch_size=4", "system.teacher=mnasnet0_5", "stages.teacher.epochs=1",
    "stages.teacher.batch_size=4", "stages.teacher_head.epochs=1",
)  # fmt: skip


#: The script with arguments.
Study = Callable[..., Any]


@pytest.fixture
def study(in_process: Callable[..., Any]) -> Study:
    return functools.partial(
        in_process, lambda: runpy.run_path(str(SCRIPT), run_name="__main__"), SCRIPT
    )


@pytest.mark.system
def test_the_summary_is_of_every_seed_and_the_teacher_is_trained_once(
    tmp_path: Path, study: Study
) -> None:
    data, out = tmp_path / "data", tmp_path / "study"
    write_isic2017(data, num_train=4, num_val=6, side_px=64)
    words: list[str | Path] = [data, "--out", out, "--seeds", "2"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    done = study(*words)
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert {way: len(runs) for way, runs in summary.items()} == {
        "teacher": 1, "taught": 2, "alone": 2, "longer": 2,
    }  # fmt: skip
    assert (out / "summary.md").read_text() == done.stdout
    accuracy = [run["accuracy"] for run in summary["taught"]]
    assert f"{fmean(accuracy):.3f} ± {stdev(accuracy):.3f}" in done.stdout

    def trained(run: str, stage: str) -> bytes:
        return (out / run / stage / "weights.safetensors").read_bytes()

    assert trained("taught0", "teacher") == trained("taught1", "teacher")
    ways = ("taught", "alone", "longer")
    students = {trained(f"{way}{seed}", "student") for way in ways for seed in (0, 1)}
    assert len(students) == 6
    recipes = (json.loads((out / f"{way}0" / "recipe.json").read_text()) for way in ways)
    assert [recipe["stages"][-1]["epochs"] for recipe in recipes] == [1, 1, 4]
    again = study(*words)
    assert again.stdout == done.stdout
    assert "student: epoch" not in again.stderr


def test_a_setting_that_does_not_exist_ends_the_study_before_it_starts(
    tmp_path: Path, study: Study
) -> None:
    write_isic2017(tmp_path / "data", num_train=1, num_val=1, side_px=64)
    done = study(tmp_path / "data", "--out", tmp_path / "study", "--set", "stages.studnt.epochs=1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --set stages.studnt.epochs=1: ")
    assert not (tmp_path / "study").exists()
