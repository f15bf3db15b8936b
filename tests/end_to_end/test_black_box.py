"""The black box as a user meets it: `camera --journal` that is killed, and `ckd-run replay`."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from deciding import let_decide
from tests.end_to_end.ckd_run import COMMAND, Run, ckd_run, environment, photo, refused

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here"),
]
FPS = 25
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "journal_cost.py"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute, which `camera` plays at its own pace."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (90, 60))
    for index in range(60 * FPS):
        writer.write(np.ascontiguousarray(np.roll(photo(), index, axis=1)[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def journal(tiny_bundle: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of forty frames. Read only."""
    folder = tmp_path_factory.mktemp("recorded")
    run = ckd_run(
        folder, "video", clip, "--bundle", tiny_bundle, "--threads", "1", "--max-frames", "40",
        "--journal", "journal", "--journal-tensors", "--out", "out",
    )  # fmt: skip
    assert (run.code, run.errors) == (0, [])
    assert "journal: 40 frames in " in run.err
    return folder / "journal"


def camera(
    clip: Path, bundle: Path, cwd: Path, before: Callable[[], None] | None = None
) -> "subprocess.Popen[str]":
    command: list[str | Path] = [
        COMMAND, "camera", clip, "--view", "none", "--json", "--journal", "journal",
        "--bundle", bundle, "--backend", "onnxruntime", "--threads", "1",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=cwd, env=environment(), text=True, preexec_fn=before,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def same(run: Run) -> int:
    """How many frames of a replay were the same."""
    assert run.code == 0, run.err
    last = run.err.splitlines()[-1]
    assert last.endswith(" frames replayed: every recorded bit is the same")
    return int(last.split()[0])


@pytest.mark.parametrize("after_s", [0.4, 1.1, 1.7, 2.3, 3.2])
def test_a_kill_loses_at_most_the_last_second_and_the_rest_replays(
    tiny_bundle: Path, clip: Path, tmp_path: Path, after_s: float
) -> None:
    process = camera(clip, tiny_bundle, tmp_path)
    assert process.stdout is not None
    seen: list[tuple[str, float]] = []
    started_s: float | None = None
    while started_s is None or time.monotonic() < started_s + after_s:
        line = process.stdout.readline()
        started_s = started_s or time.monotonic()
        seen.append((json.loads(line)["image"], time.monotonic()))
    process.kill()
    killed_s = time.monotonic()
    process.communicate()
    run = ckd_run(tmp_path, "replay", "journal", "--json")
    due = {image.partition("#")[2] for image, at_s in seen if at_s < killed_s - 1}
    if not due and run.code:
        refused(run, 1, "no journal there")
        return
    assert run.code == 0, run.err
    replayed = [int(record["frame"]) for record in run.records]
    assert replayed == [*range(len(replayed))]
    assert len(replayed) >= len(due)
    assert same(ckd_run(tmp_path, "replay", "journal")) == len(replayed)


def test_a_camera_that_is_ended_loses_nothing(
    tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    process = camera(clip, tiny_bundle, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert same(ckd_run(tmp_path, "replay", "journal")) >= 1 + len(out.splitlines())
    assert "journal: " in err.splitlines()[-2]
    assert err.splitlines()[-1].startswith("interrupted: ")
    again = ckd_run(
        tmp_path, "camera", clip, "--view", "none", "--max-frames", "3", "--journal", "journal",
        "--bundle", tiny_bundle, "--threads", "1",
    )  # fmt: skip
    assert again.code == 0
    run = ckd_run(tmp_path, "replay", "journal")
    assert same(run) == 3
    assert "note: journal holds 2 runs; this is the latest, 000002_" in run.err


def test_a_full_disk_ends_no_viewing_and_is_said(
    tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    """A limit of the system stands in for it: no file may grow over four kilobytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = camera(clip, tiny_bundle, tmp_path, limit)
    assert process.stdout is not None
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said == "journal: frames are not recorded: File too large; the analysis goes on\n"
    assert process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert "journal: 0 frames in 0 segments, " in err
    assert " not recorded (File too large)" in err


def test_another_backend_is_not_the_same_to_the_bit(journal: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert same(ckd_run(tmp_path, "replay", journal)) == 40
    run = ckd_run(tmp_path, "replay", journal, "--backend", "openvino", CKD_CACHE=str(tmp_path))
    assert run.code == 4
    (error,) = run.errors
    assert error.startswith("error: frame 0: the first that differs is the tensor ")
    assert "; 40 of 40 frames differ, and the decision of 0" in error
    assert run.out.split()[:6] == ["output", "frames", "that", "differ", "largest", "difference"]
    # What the environment says is for new runs: a replay takes what was recorded.
    assert same(ckd_run(tmp_path, "replay", journal, CKD_BACKEND="openvino")) == 40


def test_decisions_that_another_bundle_changes_are_a_table_and_a_count(
    journal: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "deciding"))
    let_decide(bundle)
    run = ckd_run(tmp_path, "replay", journal, "--bundle", bundle)
    assert run.code == 4
    assert run.errors == [
        "error: the bundle decides otherwise: 40 of 40 frames changed (decision in 40, referral "
        "in 40)"
    ]
    head, *rows = run.out.splitlines()
    assert head.split() == ["frames", "label", "decision", "referral"]
    assert rows[0].startswith("0")
    run = ckd_run(tmp_path, "replay", journal, "--bundle", bundle, "--json")
    assert run.code == 4
    assert [record["frame"] for record in run.records] == [*range(40)]
    assert all(record["changed"] == ["decision", "referral"] for record in run.records)


def test_an_archive_goes_to_another_machine_and_replays_there(
    journal: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    run = ckd_run(tmp_path, "replay", journal, "--pack", "bug.zip")
    assert (run.code, run.out) == (0, "")
    assert "bug.zip: " in run.err
    assert "MB, without photographs; it holds what the networks saw of the skin" in run.err
    assert same(ckd_run(tmp_path, "replay", "bug.zip", "--bundle", tiny_bundle)) == 40
    refused(ckd_run(tmp_path, "replay", journal, "--pack", "bug.zip"), 2, "bug.zip exists")
    for option in (("--json",), ("--threads", "1"), ("--bundle", tiny_bundle)):
        run = ckd_run(tmp_path, "replay", journal, "--pack", "other.zip", *option)
        refused(run, 2, "--pack computes nothing")
    run = ckd_run(tmp_path, "replay", "bug.zip")
    refused(run, 2, "which is not here; name it by --bundle")


def test_a_damaged_segment_costs_that_segment_and_code_1(journal: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(journal, tmp_path / "journal"))
    (segment, *_) = sorted(copy.rglob("segment-*.zip"))
    segment.write_bytes(segment.read_bytes()[:-100])
    shutil.copy(segment.with_name("journal.json"), tmp_path)
    run = ckd_run(tmp_path, "replay", copy)
    assert run.code == 1
    assert len(run.errors) == 2
    assert "segment-00000000.zip is damaged (no zip file)" in run.errors[0]
    assert "1 segments or frames are damaged" in run.errors[1]


def test_the_script_of_the_page_measures_what_the_page_says(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--frames", "2", "--tensors"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    head, *rows = done.stdout.splitlines()
    assert head.split()[:4] == ["photograph", "kB", "a", "frame"]
    for row in rows:
        size, kilobytes, at_10, at_30, add_ms, write_ms = row.split()
        width, height = map(int, size.split("x"))
        assert 300 < float(kilobytes) < width * height * 3 / 1000
        assert float(at_30) == pytest.approx(3 * float(at_10), abs=2)
        assert 0 < float(add_ms) < float(write_ms)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("replay", "gone"), 1, "gone: no journal there"),
        (("replay", "gone", "--photographs"), 2, "--photographs: name the archive"),
        (("video", "clip.avi", "--journal-tensors"), 2, "name the folder of the journal"),
        (("camera", "--journal", "j", "--journal-size", "2"), 2, "--journal-size 2: expected"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    refused(ckd_run(tmp_path, *arguments), code, message)
