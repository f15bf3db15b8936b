"""Full disks and memory: one line that names the file and the remedy, and what was there stays."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from short_training import START, TRAIN
from small_disks import grow, small_disk, with_shared_memory
from tests.end_to_end.ckd_run import ckd_run, photo, rows

from ckd.contract.leftovers import WRITING

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
FULL = "No space left on device; free some space, or write to another disk"


def test_a_full_disk_ends_a_batch_with_one_line_and_keeps_what_is_there(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    noise_HWC = np.random.default_rng(0).integers(0, 40, (300, 400, 3), np.uint8)
    picture = cv2.imencode(".png", photo(300, 400) - noise_HWC)[1].tobytes()
    for number in range(20):
        (tmp_path / "in" / f"{number:02d}.png").write_bytes(picture)
    with small_disk(tmp_path / "disk", "2m") as disk:
        run = ckd_run(tmp_path, "image", "in", "--bundle", tiny_bundle, "--out", disk / "out")
        assert run.code == 1
        (error,) = run.errors
        assert error.startswith(f"error: {disk}/out/")
        assert error.endswith(FULL)
        out = disk / "out"
        done = sorted(path.stem for path in out.glob("*.json") if path.stem != "run")
        assert 1 < len(done) < 20
        assert done == [row["image"] for row in rows(out / "findings.csv")]
        assert done == [row["image"] for row in rows(out / "predictions.csv")]
        for stem in done:
            json.loads((out / f"{stem}.json").read_text())
            assert cv2.imread(str(out / f"{stem}_overlay.png")) is not None
        assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
        assert not list(out.glob(f"{len(done):02d}*"))  # of the one that had no room
        grow(disk, "40m")
        again = ckd_run(tmp_path, "image", "in", "--bundle", tiny_bundle, "--out", disk / "out")
        assert (again.code, len(list(out.glob("*.json")))) == (0, 21)


@pytest.mark.parametrize("backend", ["openvino", "auto"])
@pytest.mark.parametrize("room", ["0", "48k", "160k"])
def test_a_full_cache_disk_stops_no_answer(
    tiny_bundle: Path, tmp_path: Path, room: str, backend: str
) -> None:
    """Neither engines nor certificates nor the choice nor temporary files have room; or some."""
    pytest.importorskip("openvino")
    cv2.imwrite(str(tmp_path / "a.png"), photo())
    image = (
        "image",
        "a.png",
        "--bundle",
        tiny_bundle,
        "--threads",
        "1",
        "--json",
        "--device",
        "cpu",
    )
    variables = {"CKD_BACKEND": backend, "TMPDIR": str(tmp_path)}
    right = ckd_run(tmp_path, *image, "--out", "right", **variables, CKD_CACHE=str(tmp_path / "c"))
    assert right.code == 0
    with small_disk(tmp_path / "disk", "1m") as disk:
        free = (1 << 20) - (int(room.rstrip("k")) << 10)
        with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
            file.write(bytes(free))
        for name in ("first", "second"):
            run = ckd_run(
                tmp_path, *image, "--out", name,
                **{**variables, "TMPDIR": str(disk), "CKD_CACHE": str(disk / "cache")},
            )  # fmt: skip
            assert run.code == 0, run.err
            assert not run.errors
            assert run.records[0]["mask"]
            for key in ("top", "lesion_area_px"):
                assert run.records[0][key] == right.records[0][key]
        assert not list(disk.rglob(f"{WRITING}*"))


def test_no_room_for_results_is_said_before_anything_is_analysed(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photo())
    with small_disk(tmp_path / "disk", "64k") as disk:
        (disk / "full").write_bytes(bytes(60 << 10))
        run = ckd_run(tmp_path, "image", "a.png", "--bundle", tiny_bundle, "--out", disk / "out")
    assert (run.code, run.out) == (2, "")
    (error,) = run.errors
    assert "cannot write results there" in error


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lightning")
    folder = tmp_path_factory.mktemp("training")
    subprocess.run(START, cwd=folder, check=True, capture_output=True)
    return folder


def train(data: Path, *options: str | Path, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    done = subprocess.run(
        [*prefix, *TRAIN, *options], cwd=data, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def test_a_training_on_a_full_disk_goes_on_where_it_was_once_there_is_room(
    data: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "100m") as disk:
        code, said = train(data, "--out", disk / "run", "--stage", "rootseg")
        assert code == 1
        last = disk / "run" / "rootseg" / "last.ckpt"
        assert said.splitlines()[-1] == f"error: {last}: {FULL}"
        assert last.exists()
        assert not list(disk.rglob(f"{WRITING}*"))
        grow(disk, "400m")
        code, said = train(data, "--out", disk / "run", "--stage", "rootseg")
        assert code == 0, said
        assert f"rootseg: going on from {last}" in said


def test_the_spare_checkpoint_gives_way_on_a_small_disk(data: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "160m") as disk:
        options = ("--out", disk / "run", "--stage", "rootseg", "--set", "stages.rootseg.epochs=4")
        assert train(data, *options)[0] == 0


def test_processes_that_load_images_without_shared_memory_are_one_line(
    data: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "probe", "64k"):
        pass  # skips where nothing can be mounted
    options = ("--out", tmp_path / "run", "--stage", "rootseg", "--workers", "2")
    done = subprocess.run(
        with_shared_memory("64k", *TRAIN, *options),
        cwd=data, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 3, done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: stage rootseg: a process that loads images ")
    assert "--shm-size 8g" in error
    assert "--workers 0" in error


def test_two_trainings_in_one_folder_are_one_training_and_one_line(
    data: Path, tmp_path: Path
) -> None:
    first = subprocess.Popen(
        [*TRAIN, "--out", tmp_path / "run"], cwd=data, stderr=subprocess.PIPE, text=True
    )
    try:
        assert first.stderr is not None
        assert "epoch 1" in first.stderr.readline()
        first.send_signal(signal.SIGSTOP)  # it has all the time that the second one needs
        code, said = train(data, "--out", tmp_path / "run")
        assert code == 2
        assert said.startswith(
            f"error: {tmp_path}/run: another process works in it: `ckd-train fit`, process "
            f"{first.pid} on "
        )
        assert said.count("\n") == 1
        first.kill()
        first.wait()
        code, said = train(data, "--out", tmp_path / "run", "--stage", "rootseg")
        assert code == 0, said
    finally:
        first.kill()
        first.communicate()
