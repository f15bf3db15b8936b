"""Recordings under kill -9, on a full disk, cut anywhere, and as players see them."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import num_frames
from services import needs_program
from small_disks import small_disk
from tests.end_to_end.ckd_run import COMMAND, ckd_run, environment, refused
from tests.end_to_end.test_web_view import BROWSERS

from ckd.runtime.closing import Closing
from ckd.runtime.sinks import Drawn, Recorder
from ckd.runtime.sinks.free_space import FreeSpace

pytestmark = pytest.mark.system

#: What may be lost of a recording that is killed.
LOST_S = 1.0
FPS = 20
#: All that ffprobe says of a Matroska file that is cut, by what is left of its last picture.
CUT = re.compile("File ended prematurely.*|Truncating packet of size .*")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of noise that moves, which no encoder makes small."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 240))
    for index in range(60 * FPS):
        writer.write(np.roll(noise, 3 * index, axis=1))
    writer.release()
    return path


class Camera(Closing):
    """`ckd-run camera` on a clip, and when each of its findings came."""

    def __init__(self, clip: Path, bundle: Path, folder: Path, *options: str | Path) -> None:
        self.came_s: list[float] = []
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [COMMAND, "camera", clip, "--view", "none", "--json", "--bundle", bundle, *options],
            cwd=folder, env={**environment(), "CKD_BACKEND": "onnxruntime"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._listeners = [
            threading.Thread(target=self._listen), threading.Thread(target=self._hear)
        ]  # fmt: skip
        for listener in self._listeners:
            listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self.came_s.append(time.monotonic())

    def _hear(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(line.rstrip() for line in self.process.stderr)

    def wait(self) -> int:
        code = self.process.wait(60)
        for listener in self._listeners:
            listener.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    def close(self) -> None:
        self.process.kill()
        self.wait()

    def ffmpeg(self) -> int:
        """The only process that it has started, from whichever thread."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        (child,) = "".join(thread.read_text() for thread in threads).split()
        return int(child)

    def runs_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            assert self.process.poll() is None, self.said
            time.sleep(0.01)


def probed(path: Path) -> tuple[int, int, list[str]]:
    """Exit code of ffprobe, how many frames it decodes, and what it complains of."""
    done = subprocess.run(
        [needs_program("ffprobe"), "-v", "error", "-count_frames", "-show_entries",
         "stream=nb_read_frames", "-of", "csv=p=0", path],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    complaints = [line.rpartition("] ")[2] for line in done.stderr.splitlines()]
    return done.returncode, int(done.stdout.strip() or 0), complaints


@pytest.mark.parametrize("name", ["seen.mkv", "seen.mp4"])
@pytest.mark.parametrize("alive_s", [0.1, 1.3, 2.0, 3.7])
def test_kill_9_costs_a_second_and_a_restart_costs_nothing(
    clip: Path, tiny_bundle: Path, tmp_path: Path, name: str, alive_s: float
) -> None:
    if name.endswith("mp4"):
        needs_program("ffmpeg")
    with Camera(clip, tiny_bundle, tmp_path, "--record", name) as camera:
        camera.runs_until(lambda: bool(camera.came_s))
        camera.runs_until(lambda: time.monotonic() > camera.came_s[0] + LOST_S + alive_s)
        camera.process.kill()
        killed_s = time.monotonic()
        assert camera.wait() == -signal.SIGKILL
    path = tmp_path / name
    if name.endswith("mp4"):  # ffmpeg goes on to the end of what it was given
        wait_for_writers(path)
    due = sum(came_s < killed_s - LOST_S for came_s in camera.came_s)
    code, num_whole, complaints = probed(path)
    assert (code, [line for line in complaints if not CUT.fullmatch(line)]) == (0, [])
    assert due > 0
    assert due <= num_whole <= len(camera.came_s) + 1
    assert num_frames(path) == num_whole
    content = path.read_bytes()
    again = ("--view", "none", "--bundle", tiny_bundle, "--record", name)
    refused(ckd_run(tmp_path, "camera", clip, *again), 2, f"{name}: exists already")
    refused(ckd_run(tmp_path, "camera", "/dev/video97", *again), 6, "no such camera")
    assert path.read_bytes() == content


@pytest.mark.parametrize("alive_s", [0.5, 2.2])
def test_what_ffmpeg_holds_back_is_little(
    clip: Path, tiny_bundle: Path, tmp_path: Path, alive_s: float
) -> None:
    """Both are killed at once, as by a loss of power."""
    needs_program("ffmpeg")
    with Camera(clip, tiny_bundle, tmp_path, "--record", "seen.mp4") as camera:
        camera.runs_until(lambda: bool(camera.came_s))
        camera.runs_until(lambda: time.monotonic() > camera.came_s[0] + LOST_S + alive_s)
        for pid in (camera.ffmpeg(), camera.process.pid):
            os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        camera.wait()
    due = sum(came_s < killed_s - LOST_S for came_s in camera.came_s)
    assert 0 < due <= num_frames(tmp_path / "seen.mp4")


def test_kill_9_leaves_the_part_of_an_overlay_that_was_done(
    clip: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    start = ("video", clip, "--bundle", tiny_bundle, "--out", "out")
    process = subprocess.Popen(
        [COMMAND, *start, "--json"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        env={**environment(), "CKD_BACKEND": "onnxruntime"},
    )  # fmt: skip
    assert process.stdout is not None
    came_s = [time.monotonic() for _, _ in zip(range(300), process.stdout, strict=False)]
    process.kill()
    killed_s = time.monotonic()
    process.communicate()
    part, whole = (tmp_path / f"out/clip_overlay{end}.mkv" for end in (".part", ""))
    assert not whole.exists()
    due = sum(one_s < killed_s - LOST_S for one_s in came_s)
    assert 0 < due <= num_frames(part)
    assert ckd_run(tmp_path, *start, "--max-frames", "5").code == 0  # takes the place of both
    assert (num_frames(whole), part.exists()) == (5, False)


def wait_for_writers(path: Path) -> None:
    """Until no process has the file open."""
    end_s = time.monotonic() + 20
    while any(_is_open(path, folder) for folder in Path("/proc").glob("[0-9]*/fd")):
        assert time.monotonic() < end_s
        time.sleep(0.05)


def _is_open(path: Path, folder: Path) -> bool:
    try:
        return any(link.samefile(path) for link in folder.iterdir() if link.exists())
    except OSError:
        return False  # the process has ended


@pytest.mark.parametrize("name", ["seen.mkv", "seen.mp4"])
@pytest.mark.parametrize("min_free", ["0", "2"])
def test_a_full_disk_ends_the_recording_and_the_analysis_goes_on(
    clip: Path, tiny_bundle: Path, tmp_path: Path, name: str, min_free: str
) -> None:
    if name.endswith("mp4"):
        needs_program("ffmpeg")
    with small_disk(tmp_path / "disk", "9000k") as disk:
        options = ("--record", disk / name, "--min-free", f"{min_free}MB")
        with Camera(clip, tiny_bundle, tmp_path, *options) as camera:
            camera.runs_until(lambda: "the recording ends here" in "".join(camera.said))
            at_the_end = len(camera.came_s)
            camera.runs_until(lambda: len(camera.came_s) > at_the_end + FPS)  # it goes on
            camera.process.send_signal(signal.SIGINT)
            assert camera.wait() == 3, camera.said
        assert "is full in about" in "\n".join(camera.said)  # it was told before
        lines = [line for line in camera.said if line.startswith("error: ")]
        (error,) = lines
        assert f"{disk / name}: the recording ended early, after " in error
        assert f"--min-free keeps {min_free} MB; delete files" in error
        code, num_whole, complaints = probed(disk / name)
        assert code == 0
        if name.endswith("mkv"):
            assert complaints == []
        assert f"after {num_whole} pictures" in error or name.endswith("mp4")
        assert num_whole > FPS
        assert num_frames(disk / name) >= num_whole - 1
        left_mb = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize / 1e6
        assert left_mb >= int(min_free)


@pytest.mark.parametrize("name", ["seen.mkv", "seen.mp4"])
def test_a_disk_that_others_fill_ends_the_recording_playable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Between the look at the disk and the write there is room for another program's file."""
    if name.endswith("mp4"):
        needs_program("ffmpeg")
    monkeypatch.setattr(FreeSpace, "lack", lambda self, num_bytes=0: "")
    rng, said = np.random.default_rng(0), list[str]()
    with small_disk(tmp_path / "disk", "5000k") as disk:
        path = disk / name
        with Recorder(path, min_free_bytes=0, leaves_out=False, say=said.append) as recorder:
            for index in range(10 * FPS):
                image_HWC = rng.integers(0, 256, (240, 320, 3), np.uint8)
                recorder.write(Drawn(partial(np.copy, image_HWC)), index / FPS)
        assert "No space left on device" in recorder.state.ended_by
        assert said[-1].endswith(recorder.state.ended_by)
        code, num_whole, complaints = probed(path)
        assert code == 0
        assert num_whole > FPS
        if name.endswith("mkv"):  # which ends at its last whole cluster
            assert (num_whole, complaints) == (recorder.state.num_pictures, [])


def test_a_recording_ends_with_its_ffmpeg_and_the_analysis_goes_on(
    clip: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    needs_program("ffmpeg")
    with Camera(clip, tiny_bundle, tmp_path, "--record", "seen.mp4") as camera:
        camera.runs_until(lambda: len(camera.came_s) > 2 * FPS)
        os.kill(camera.ffmpeg(), signal.SIGKILL)
        camera.runs_until(lambda: "the recording ends here" in "".join(camera.said))
        at_the_end = len(camera.came_s)
        camera.runs_until(lambda: len(camera.came_s) > at_the_end + FPS)
        camera.process.send_signal(signal.SIGINT)
        assert camera.wait() == 3
    assert "ffmpeg ended: -9" in camera.said[-1]
    assert num_frames(tmp_path / "seen.mp4") >= FPS


def record(path: Path, num_pictures: int, height: int = 240, width: int = 320) -> None:
    """A recording of grey pictures, each a little lighter than the one before."""
    with Recorder(path, min_free_bytes=0, leaves_out=False, say=print) as recorder:
        for index in range(num_pictures):
            image_HWC = np.full((height, width, 3), 2 * index, np.uint8)
            recorder.write(Drawn(partial(np.copy, image_HWC)), index / FPS)


def test_ffprobe_finds_no_error_wherever_a_recording_is_cut(tmp_path: Path) -> None:
    needs_program("ffprobe")
    record(tmp_path / "seen.mkv", 3 * FPS)
    assert probed(tmp_path / "seen.mkv") == (0, 3 * FPS, [])
    content, cut = (tmp_path / "seen.mkv").read_bytes(), tmp_path / "cut.mkv"
    ends = [match.end() for match in re.finditer(b"\xff\xd9", content)]
    assert len(ends) == 3 * FPS
    for end in np.linspace(ends[0] + 1, len(content) - 1, 40, dtype=int):
        cut.write_bytes(content[:end])
        code, num_whole, complaints = probed(cut)
        assert code == 0
        assert all(CUT.fullmatch(line) for line in complaints), complaints
        assert num_whole == sum(at <= end for at in ends)


def test_h264_of_odd_size_plays_and_each_picture_keeps_its_time(tmp_path: Path) -> None:
    needs_program("ffmpeg")
    record(tmp_path / "seen.mp4", 3 * FPS, 97, 131)
    assert probed(tmp_path / "seen.mp4") == (0, 3 * FPS, [])
    capture = cv2.VideoCapture(str(tmp_path / "seen.mp4"))
    for index in range(3 * FPS):
        assert capture.grab()
        assert capture.get(cv2.CAP_PROP_POS_MSEC) == pytest.approx(1e3 * index / FPS, abs=1)
        image_bgr = np.asarray(capture.retrieve()[1])
        assert image_bgr.shape == (98, 132, 3)
        np.testing.assert_allclose(image_bgr[:96, :130].mean(), 2 * index, atol=4)
    capture.release()


def test_an_ffmpeg_before_5_1_is_told_the_same_by_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "bin" / "ffmpeg"
    older.parent.mkdir()
    older.write_text(
        f'#!/bin/sh\ncase "$*" in *-fps_mode*) exit 1;; esac\nexec {needs_program("ffmpeg")} "$@"\n'
    )
    older.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(older.parent))
        record(tmp_path / "none.mp4", 0)
        record(tmp_path / "seen.mp4", 2 * FPS)
    assert not (tmp_path / "none.mp4").exists()
    assert probed(tmp_path / "seen.mp4") == (0, 2 * FPS, [])


PAGE = """<body><script>
const video = document.createElement("video");
video.muted = true;
video.src = location.search.slice(1);
const say = (word) => fetch("/" + word + "/" + video.getVideoPlaybackQuality().totalVideoFrames);
video.onerror = () => say("refused");
video.onended = () => say("played");
document.body.append(video);
video.play().catch(() => {});
</script></body>"""


@pytest.mark.parametrize(("name", "said"), [("seen.mp4", "played"), ("seen.mkv", "refused")])
def test_chromium_plays_mp4_and_no_motion_jpeg(tmp_path: Path, name: str, said: str) -> None:
    browser = needs_program(*BROWSERS)
    needs_program("ffmpeg")
    record(tmp_path / name, FPS)
    (tmp_path / "page.html").write_text(PAGE)
    heard: list[str] = []
    came = threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.split("/")[1] in ("played", "refused"):
                heard.append(self.path)
                came.set()
            super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        process = subprocess.Popen(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-port=0",
             "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={tmp_path / 'user'}",
             f"http://127.0.0.1:{server.server_port}/page.html?{name}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            assert came.wait(60)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            server.shutdown()
            serving.join()
    assert heard[0] == f"/{said}/{FPS if said == 'played' else 0}"
