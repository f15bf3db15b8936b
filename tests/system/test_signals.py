"""Ctrl-C, SIGTERM and SIGHUP in the middle of real work: its exit code, and nothing left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from short_training import START, TRAIN
from tests.end_to_end.ckd_run import COMMAND, GOOD_IMAGES, environment, make, photo

from ckd.contract.leftovers import BUILDING, WRITING
from ckd.contract.writer_lock import LOCK

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def heard() -> None:
    """In the child: what the shell of the tests hands down as ignored is heard."""
    for number in CODES:
        signal.signal(number, signal.SIG_DFL)


def stopped(
    sent: signal.Signals, cwd: Path, *command: str | Path, ready: str, stream: str = "stdout"
) -> tuple[int, str]:
    """Exit code and stderr of a command that gets a signal once it has printed ``ready``."""
    process = subprocess.Popen(
        command, cwd=cwd, text=True, preexec_fn=heard, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    said = getattr(process, stream)
    while ready not in (line := said.readline()):
        assert line, process.communicate()
    process.send_signal(sent)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, err


def left_over(folder: Path) -> list[str]:
    names = [path.name for path in folder.rglob("*")]
    return [name for name in names if name.startswith((WRITING, BUILDING, LOCK))]


@pytest.mark.parametrize("sent", CODES)
def test_images(tiny_bundle: Path, tmp_path: Path, sent: signal.Signals) -> None:
    make(tmp_path / "in", {f"{n}.png": GOOD_IMAGES["colour.png"] for n in range(200)})
    command = (COMMAND, "image", "in", "--json", "--bundle", tiny_bundle)
    code, err = stopped(sent, tmp_path, *command, ready='"image"')
    assert (code, err.splitlines()[-1]) == (CODES[sent], "interrupted")
    assert not left_over(tmp_path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands in for a camera: minutes of a live source."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 60))
    for _ in range(1500):
        writer.write(photo())
    writer.release()
    return path


@pytest.mark.parametrize("sent", CODES)
def test_a_camera_ends_well(
    tiny_bundle: Path, clip: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    command = (COMMAND, "camera", clip, "--view", "none", "--json", "--bundle", tiny_bundle)
    code, err = stopped(sent, tmp_path, *command, ready='"image"')
    assert code == 0
    assert "interrupted: " in err


def test_a_camera_that_has_not_begun_ends_well_too(
    tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [COMMAND, "camera", clip, "--view", "none", "--bundle", tiny_bundle],
        cwd=tmp_path, preexec_fn=heard, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # The file is opened first; then the networks are loaded.
    while clip not in open_files(process.pid):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert process.returncode == 0


def open_files(pid: int) -> list[Path]:
    """What a process holds open now: a file it closes meanwhile is none of them."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(entry.readlink())
    return found


@pytest.mark.parametrize("sent", CODES)
def test_a_training(tmp_path: Path, sent: signal.Signals) -> None:
    pytest.importorskip("lightning")
    subprocess.run(START, cwd=tmp_path, check=True, capture_output=True)
    train = (*TRAIN, "--out", "run", "--set", "stages.rootseg.epochs=50", "--workers", "1")
    code, err = stopped(sent, tmp_path, *train, ready="epoch 1/", stream="stderr")
    last = "error: rootseg was interrupted; the same command goes on"
    assert (code, err.splitlines()[-1]) == (CODES[sent], last)
    assert not left_over(tmp_path)
    assert not children_of_others(tmp_path)


def children_of_others(cwd: Path) -> list[str]:
    """Processes that still work in a folder, such as those that load images."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == cwd and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_an_export(tmp_path: Path, sent: signal.Signals) -> None:
    pytest.importorskip("torch")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from ckd import console\n"
        "from tests.tiny_bundle import tiny_system\n"
        "from ckd.export.bundle import write_bundle\n"
        "def command():\n"
        "    print('begun', flush=True)\n"
        "    write_bundle(tiny_system(), Path('out/b'), name='tiny', provenance={})\n"
        "console.run(command)\n"
    )
    root = Path(__file__).parents[2]
    code, err = stopped(sent, tmp_path, sys.executable, "-c", program, root, ready="begun")
    assert (code, err.splitlines()[-1]) == (CODES[sent], "interrupted")
    assert not left_over(tmp_path)


def test_under_nohup_a_closed_terminal_is_no_end(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path / "in", {f"{n}.png": GOOD_IMAGES["colour.png"] for n in range(5)})
    process = subprocess.Popen(
        ["nohup", COMMAND, "image", "in", "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
