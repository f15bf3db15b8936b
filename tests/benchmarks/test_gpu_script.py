"""`benchmarks/gpu.sh`: what it runs, with what, and how it ends; the interpreter is a stand-in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
STAND_IN = """#!/bin/bash
echo "$* | $PYTHONPATH" >> "$CALLS"
case "$2" in
    ckd.benchmarks.gpu.machine) exit "${PROBED:-0}" ;;
    pytest) echo "${SUMMARY:-3 passed, 1 skipped in 2.0s}"; exit "${TESTED:-0}" ;;
    ckd.benchmarks.cli) echo report; exit "${RACED:-0}" ;;
esac
"""


def run(
    tmp_path: Path, *arguments: str, **settings: int | str
) -> "subprocess.CompletedProcess[str]":
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    env = {
        **os.environ,
        **{name: str(value) for name, value in settings.items()},
        "PYTHON": str(python), "CALLS": str(tmp_path / "calls"), "PYTHONPATH": "/carried/along",
    }  # fmt: skip
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_tests_and_race_run_from_the_checkout_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "out", "--runs", "7")
    assert (done.returncode, done.stdout) == (0, "report\n")
    probe, tests, race = calls(tmp_path)
    for call in (probe, tests, race):
        path = call.partition(" | ")[2].split(":")
        roots = ("runtime", "train", "export", "calibration", "benchmarks")
        assert path == [*(str(ROOT / root) for root in roots), "/carried/along"]
    assert "tests/gpu/test_onnxruntime_cuda.py" in tests
    assert " -m gpu " in tests
    assert race.startswith(f"-m ckd.benchmarks.cli gpu --results {tmp_path}/out --limit 4")
    assert " --runs 7 |" in race
    assert probe.startswith("-m ckd.benchmarks.gpu.machine --runs 7 |")


def test_failing_tests_do_not_stop_the_race_but_are_not_forgotten(tmp_path: Path) -> None:
    done = run(tmp_path, TESTED=1)
    assert (done.returncode, len(calls(tmp_path))) == (1, 3)
    assert "the tests did not pass (exit code 1); going on" in done.stderr
    assert f"--results {ROOT}/benchmarks/results " in calls(tmp_path)[2]


@pytest.mark.parametrize("summary", ["47 skipped in 1.2s", "0 passed, 47 skipped in 1.2s"])
def test_tests_that_were_all_skipped_have_not_passed(tmp_path: Path, summary: str) -> None:
    done = run(tmp_path, SUMMARY=summary)
    assert (done.returncode, len(calls(tmp_path))) == (5, 3)
    assert summary in done.stderr
    assert "no test ran on the GPU: all were skipped" in done.stderr


def test_a_test_that_cannot_be_collected_does_not_keep_the_others_from_running(
    tmp_path: Path,
) -> None:
    run(tmp_path, "out")
    assert " --continue-on-collection-errors |" in calls(tmp_path)[1]


def test_the_race_decides_how_it_ends(tmp_path: Path) -> None:
    assert run(tmp_path, TESTED=1, RACED=5).returncode == 5


def test_help_is_printed_and_nothing_run(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert "benchmarks/gpu.sh [RESULTS [options of ckd-bench gpu]]" in done.stdout
    assert not (tmp_path / "calls").exists()


def test_an_option_is_not_taken_for_the_folder(tmp_path: Path) -> None:
    done = run(tmp_path, "--device", "cuda:1")
    assert (done.returncode, (tmp_path / "calls").exists()) == (2, False)
    assert "error: --device: the folder for results comes first" in done.stderr


@pytest.mark.parametrize("limit", ["soon", "-5", "1e3", "0"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(tmp_path: Path, limit: str) -> None:
    done = run(tmp_path, LIMIT_S=limit)
    assert (done.returncode, (tmp_path / "calls").exists()) == (2, False)
    assert f"error: LIMIT_S is '{limit}'" in done.stderr


def test_without_a_gpu_nothing_else_is_run(tmp_path: Path) -> None:
    done = run(tmp_path, PROBED=3)
    assert (done.returncode, len(calls(tmp_path))) == (3, 1)


def test_without_an_interpreter_it_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHON": "/no/such/python"}
    done = subprocess.run(["bash", str(SCRIPT)], env=env, capture_output=True, text=True)
    assert done.returncode == 3
    assert "error: no interpreter /no/such/python; set PYTHON" in done.stderr


def test_its_pytest_options_need_no_plugins(tmp_path: Path) -> None:
    """The checkout's own settings name plugins that may be missing there."""
    run(tmp_path, "out")
    arguments = calls(tmp_path)[1].partition(" | ")[0].split()
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, *arguments, "--collect-only"],
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_golden_cases_are_answered_as_recorded[fp32]" in done.stdout
