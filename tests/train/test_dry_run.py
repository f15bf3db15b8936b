"""`ckd-train fit --dry-run` prints the plan and changes nothing."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ckd.contract.errors import UsageError
from ckd.train.cli import cli
from ckd.train.fitting.fit import planned

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


def dry_run(runs: "TrainingRuns", recipe: Path, out: Path, *words: str | Path) -> list[list[str]]:
    """The cells of the printed table, by line."""
    command = (
        "fit", "--recipe", recipe, "--data", runs.data, "--out", out, "--weights", "none",
        "--accelerator", "cpu", "--dry-run", *words,
    )  # fmt: skip
    done = CliRunner().invoke(cli, [str(word) for word in command], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [line.rstrip().split(maxsplit=2) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_the_plan_is_printed_and_nothing_is_changed(runs: "TrainingRuns", tmp_path: Path) -> None:
    recipe = runs.finished / "recipe.json"
    before = runs.contents(runs.finished)
    names = ["rootseg", "cls", "seg"]
    head, *rows = dry_run(runs, recipe, runs.finished)
    assert head == ["stage", "action", "reason"]
    assert rows == [[name, "keep", "already trained"] for name in names]
    rows = dry_run(runs, recipe, runs.finished, "--fresh")[1:]
    assert rows == [[name, "train", "started over"] for name in names]
    assert runs.contents(runs.finished) == before

    # Piped, the longest cell is neither cut nor broken.
    reused = Path(shutil.copytree(runs.finished, tmp_path / ("long_name_" * 20)))
    rows = dry_run(runs, recipe, tmp_path / "run", "--reuse", reused)[1:]
    assert rows == [[name, "reuse", f"the same as {reused / name}"] for name in names]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_interrupted_stage_goes_on(runs: "TrainingRuns") -> None:
    in_cls = runs.interrupted.in_cls
    before = runs.contents(in_cls)
    steps = planned(runs.recipe, runs.data, in_cls, runs.options)
    assert [step.action for step in steps] == ["keep", "resume", "train"]
    assert runs.contents(in_cls) == before


def test_what_fit_would_refuse_is_refused(runs: "TrainingRuns", tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stage seg needs rootseg"):
        dry_run(runs, recipe_file(runs, tmp_path), tmp_path / "run", "--stage", "seg")
    with pytest.raises(UsageError, match="is no run folder, and not empty"):
        dry_run(runs, recipe_file(runs, tmp_path), runs.data)


def recipe_file(runs: "TrainingRuns", folder: Path) -> Path:
    runs.recipe.save(folder / "recipe.json")
    return folder / "recipe.json"
