"""Writers that are killed, at every step or at random, leave the old, the new, or nothing.

The next writer is not held up by what is left, and removes it.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
from tests.end_to_end.ckd_run import COMMAND, GOOD_IMAGES, environment, make

from ckd.contract.bundle import Bundle
from ckd.contract.leftovers import WRITING
from ckd.contract.writer_lock import LOCK

pytestmark = [pytest.mark.system, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
HERE = Path(__file__).parent

#: How often `ckd-run image` is killed.
KILLS = 15


def test_a_kill_at_every_step_leaves_whole_files_and_folders(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "killed_at_every_step.py", tmp_path],
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "support")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    for task, named in {
        "file": ["before os.fsync", "before Path.replace", "after Path.replace"],
        "file that is kept": ["after Path.replace"],
        "group": ["before syncfs", "after syncfs", "after Path.unlink", "after Path.replace"],
        "folder": ["before Path.rename", "after Path.rename", "before shutil.rmtree"],
        "lock": ["after os.open", "after os.write", "before Path.unlink"],
    }.items():
        assert steps[task][-1] == ""  # the last one was not killed
        for step in named:
            assert step in steps[task], (task, steps[task])
    assert sum(map(len, steps.values())) > 150


def started(command: Sequence[str | Path], cwd: Path, stderr: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment(), "CKD_BACKEND": "onnxruntime"},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
    )


def killed_after(seconds: float, *command: str | Path, cwd: Path) -> bool:
    """Whether a command had to be killed; otherwise it was done by then."""
    process = started(command, cwd, stderr=subprocess.PIPE)
    try:
        _, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, err
    return False


def check_results(out: Path) -> int:
    """Number of findings in a folder of results, of which each is whole."""
    for path in out.glob("*.png"):
        if not path.name.startswith("."):
            assert cv2.imread(str(path)) is not None, path
    findings = list(out.glob("*.json"))
    for path in findings:
        content = json.loads(path.read_text())
        if path.name != "run.json":
            assert (out / f"{path.stem}_overlay.png").exists()
            assert content["image"].endswith(f"{path.stem}.png")
    for name in ("predictions.csv", "findings.csv"):
        if (out / name).exists():
            text = (out / name).read_text()
            assert text == "" or text.endswith("\n")
            assert len({len(row) for row in csv.reader(text.splitlines())}) <= 1
    return len(findings)


def killed_at(count: int, out: Path, wait: float, *command: str | Path, cwd: Path) -> None:
    """Kill a command `wait` seconds after it wrote the findings of `count` images to `out`."""
    old = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    process = started(command, cwd, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            now = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
        except FileNotFoundError:  # a file in the making was renamed
            continue
        if sum(old.get(path) != changed for path, changed in now.items()) >= count:
            break
        time.sleep(0.001)
    time.sleep(wait)
    process.kill()
    process.wait()


@pytest.mark.timeout(900)
def test_results_are_whole_whenever_the_program_is_killed(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    make(tmp_path / "in", {f"{n}.png": GOOD_IMAGES["colour.png"] for n in range(30)})
    command = (COMMAND, "image", "in", "--bundle", tiny_bundle, "--out", "out")
    out, rng, counts = tmp_path / "out", random.Random(0), set()
    for kill in range(KILLS):
        if kill % 2:  # every other one writes over the results of the one before
            shutil.rmtree(out, ignore_errors=True)
        killed_at(rng.randrange(28), out, rng.uniform(0, 0.01), *command, cwd=tmp_path)
        if out.exists():
            counts.add(check_results(out))
    assert len(counts) > 5, "the kills came before or after all of the work"
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert check_results(out) == 31
    assert not [p for p in out.iterdir() if p.name.startswith((WRITING, LOCK))]


@pytest.mark.timeout(900)
def test_a_bundle_is_whole_or_not_there_whenever_its_export_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    program = tmp_path / "write.py"
    program.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.tiny_bundle import tiny_system\n"
        "from ckd.export.bundle import write_bundle\n"
        "write_bundle(tiny_system(), Path('out/b'), name='tiny', provenance={})\n"
    )
    command = (sys.executable, program, HERE.parents[1])
    (tmp_path / "out").mkdir()
    for seconds in (6.0, 8.0, 10.0, 12.0):
        was_killed = killed_after(seconds, *command, cwd=tmp_path)
        if (tmp_path / "out" / "b").exists():  # a kill may also come when all is done
            Bundle(tmp_path / "out" / "b").verify()
            break
        assert was_killed
    for path in (tmp_path / "out").iterdir():
        os.utime(path, (1, 1))  # as if an hour had passed
    shutil.rmtree(tmp_path / "out" / "b", ignore_errors=True)
    assert not killed_after(300.0, *command, cwd=tmp_path)
    Bundle(tmp_path / "out" / "b").verify()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


@pytest.mark.timeout(1200)
def test_a_training_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from short_training import START, TRAIN

    from ckd.train.fitting.whole_checkpoint import before

    subprocess.run([*START], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([*TRAIN, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    rng, kills = random.Random(1), 0
    train = (*TRAIN, "--out", "killed")
    while kills < 8 and killed_after(rng.uniform(5.0, 9.0), *train, cwd=tmp_path):
        kills += 1
        for path in (tmp_path / "killed").rglob("*"):
            if path.suffix == ".ckpt" and not path.name.startswith(WRITING):
                assert zipfile.ZipFile(path).testzip() is None
            if path.suffix == ".json":
                json.loads(path.read_text())
    assert kills > 1
    # The disk loses a part of the newest one besides, where there is one before to go on from: a
    # slow machine may not have come so far.
    last = sorted((tmp_path / "killed").rglob("last.ckpt"))[-1:]
    damaged = [path for path in last if before(path).exists()]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:1000])
    done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for path in (tmp_path / "whole").rglob("weights.safetensors"):
        twin = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert twin.read_bytes() == path.read_bytes(), twin


def test_a_signal_in_the_middle_of_a_clean_up_leaves_whole_results(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    make(tmp_path / "in", {f"{n}.png": GOOD_IMAGES["colour.png"] for n in range(60)})
    process = subprocess.Popen(
        [COMMAND, "image", "in", "--json", "--bundle", tiny_bundle, "--out", "out"],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert 1 < check_results(tmp_path / "out") < 61
