"""`benchmarks/bundle.sh`: its commands exist with these options, in an order that fits.

Nothing is trained: stand-ins write down how they were called, and make what the next step reads.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ckd.benchmarks import cli as bench_cli
from ckd.calibration import cli as calibrate_cli
from ckd.export import cli as export_cli
from ckd.train import cli as train_cli

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "ckd-train": train_cli.cli,
    "ckd-export": export_cli.cli,
    "ckd-calibrate": calibrate_cli.cli,
    "ckd-bench": bench_cli.cli,
}
STAND_IN = """#!/bin/sh
{ printf '%s|' "${0##*/}" "$@"; echo; } >> "$CALLS"
case "$1" in
    "$FAILS") exit 4 ;;
    sections) mkdir -p build/bundle/sections ;;
    evaluate) mkdir -p build/bundle/damage && touch build/bundle/damage/corruptions.md ;;
    accuracy) echo "changes" > build/bundle/changes.md ;;
    verify) mkdir build/bundle/ckdnet-mobile && truncate -s "$SIZE" build/bundle/ckdnet-mobile/x ;;
esac
"""


def run(
    tmp_path: Path, fails: str = "nothing", size: int = 9
) -> "subprocess.CompletedProcess[str]":
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in COMMANDS:
        (bin_folder / name).write_text(STAND_IN)
        (bin_folder / name).chmod(0o755)
    env = {
        **os.environ, "CKD_BIN": str(bin_folder), "CALLS": str(tmp_path / "calls"), "FAILS": fails,
        "SIZE": str(size),
    }  # fmt: skip
    (tmp_path / "notes.md").write_text("notes\n")
    (tmp_path / "study" / "taught" / "all").mkdir(parents=True)
    (tmp_path / "study" / "taught" / "all" / "recipe.json").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "build" / "bundle").mkdir(parents=True)
    return subprocess.run(
        [ROOT / "benchmarks" / "bundle.sh", "study/taught/all", "data", "notes.md"],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip


def calls(tmp_path: Path) -> list[list[str]]:
    return [line.split("|")[:-1] for line in (tmp_path / "calls").read_text().splitlines()]


@pytest.mark.slow
def test_every_command_takes_its_options(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "build/bundle/ckdnet-mobile/model_card.md" in done.stdout
    called = calls(tmp_path)
    assert [words[1] for words in called] == [
        "evaluate", "bundle", "accuracy", "bundle", "sections", "evaluate", "sections",
        "placement", "qat", "quantize", "shrink", "sections", "verify",
    ]  # fmt: skip
    for program, name, *words in called:
        group: Any = get_command(COMMANDS[program])
        group.commands[name].make_context(name, list(words))  # an unknown option would raise
    assert (tmp_path / "build" / "bundle" / "notes.md").read_text() == "notes\nchanges\n"


def test_each_step_reads_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    run(tmp_path)
    written = {"study/taught", "study/taught/all", "data", "build/bundle/notes.md"}
    written.add("runtime/ckd/runtime/bundles/ckdnet-mobile")
    for words in calls(tmp_path):
        inputs = [word for word in words if "/" in word and " " not in word]
        outs = [words[at + 1] for at, word in enumerate(words) if word in ("--out", "--changes")]
        assert set(inputs) - set(outs) <= written, words
        written.update(outs)


@pytest.mark.parametrize("step", ["evaluate", "quantize", "shrink"])
def test_a_step_that_fails_ends_the_script(tmp_path: Path, step: str) -> None:
    done = run(tmp_path, fails=step)
    assert done.returncode == 4
    assert calls(tmp_path)[-1][1] == step
    assert "to ship it" not in done.stdout


def test_a_bundle_that_is_too_large_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, size=36_000_001)
    assert done.returncode == 4
    assert "36000001 bytes, expected 36000000 at most" in done.stderr


def test_without_a_run_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "build" / "bundle" / "float").mkdir(parents=True)
    command = [str(ROOT / "benchmarks" / "bundle.sh"), "", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert (tmp_path / "build" / "bundle" / "float").is_dir()
