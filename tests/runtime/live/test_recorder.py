"""Recordings: playable from the first second, at the right pace, and never at another's cost."""

import errno
import os
import shutil
import signal
import time
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.live.rig import HEIGHT, WIDTH, analyse, at_once, draw

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.finding.finding import Finding
from ckd.runtime.live import run_live
from ckd.runtime.sinks import Drawn, Recorder, ffmpeg, recorder, recording_files
from ckd.runtime.sinks.free_space import FreeSpace, time_shown
from ckd.runtime.sources import VideoFile

MB = 1_000_000
Usage = namedtuple("Usage", "total used free")


def quiet(line: str) -> None:
    raise AssertionError(line)


def record(path: Path, *, leaves_out: bool = True, say: Callable[[str], None] = quiet) -> Recorder:
    return Recorder(path, min_free_bytes=0, leaves_out=leaves_out, say=say)


def drawn(level: int = 120, height: int = HEIGHT, width: int = WIDTH) -> Drawn:
    return Drawn(partial(np.full, (height, width, 3), level, np.uint8))


def played(path: Path) -> list[tuple[int, NDArray[np.uint8]]]:
    """Time in milliseconds and picture, BGR, of each frame."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while capture.grab():
        time_ms = round(capture.get(cv2.CAP_PROP_POS_MSEC))
        frames.append((time_ms, np.asarray(capture.retrieve()[1], dtype=np.uint8)))
    capture.release()
    return frames


def wait_until(is_so: Callable[[], object]) -> None:
    end_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_recording_holds_each_frame_once_at_the_rate_of_its_times(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "out.mkv"
    red = Drawn(lambda: np.full((HEIGHT, WIDTH, 3), (200, 0, 0), np.uint8))
    with record(path) as recording:
        for index in range(10):
            recording.write(red, index / 25)
        assert path.exists()
    with VideoFile(path) as video:
        frames = list(video)
        assert (len(frames), video.fps, video.size_hw) == (10, 25.0, (HEIGHT, WIDTH))
        assert video.num_frames == 10
    colour = frames[5].image_HWC[HEIGHT // 2, WIDTH // 2].astype(int)
    np.testing.assert_allclose(colour, [200, 0, 0], atol=10)  # lossy compression
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    state = recording.state
    assert (state.num_pictures, state.num_left_out, state.ended_by) == (10, 0, "")
    assert state.num_bytes == path.stat().st_size
    state.check()


def test_a_recording_keeps_the_times_of_the_clock(tmp_path: Path) -> None:
    times_s = [i / 20 for i in range(20)] + [1.5, 1.51, 1.52, 1.55] + [600.0]
    with record(tmp_path / "out.mkv") as recording:
        for time_s in times_s:
            recording.write(drawn(), 1e5 + time_s)
    seen_ms = [time_ms for time_ms, _ in played(tmp_path / "out.mkv")]
    assert seen_ms == [round(1e3 * time_s) for time_s in times_s]


def test_frames_of_one_moment_are_all_kept(tmp_path: Path) -> None:
    with record(tmp_path / "out.mkv") as recording:
        for _ in range(3):
            recording.write(drawn(), 7.0)
    assert [time_ms for time_ms, _ in played(tmp_path / "out.mkv")] == [0, 1, 2]


def test_a_recording_of_one_frame_is_kept(tmp_path: Path) -> None:
    with record(tmp_path / "out.mkv") as recording:
        recording.write(drawn(), 1.0)
    with VideoFile(tmp_path / "out.mkv") as video:
        assert len(list(video)) == 1


def test_a_picture_of_another_size_keeps_its_shape(tmp_path: Path) -> None:
    with record(tmp_path / "out.mkv") as recording:
        recording.write(drawn(200, 97, 131), 0.0)
        recording.write(drawn(200, 96, 32), 0.1)  # three times as high as wide
    (_, first), (_, second) = played(tmp_path / "out.mkv")
    assert first.shape == second.shape == (97, 131, 3)
    columns = second.mean(axis=(0, 2))
    assert columns[60:70].min() > 180
    assert max(columns[:40].max(), columns[-40:].max()) < 20


def test_a_first_picture_that_no_jpeg_can_hold_is_fitted_into_one(tmp_path: Path) -> None:
    with record(tmp_path / "out.mkv") as recording:
        recording.write(drawn(200, 32, 70_000), 0.0)
        recording.write(drawn(200, 96, 128), 0.1)
    assert [frame.shape for _, frame in played(tmp_path / "out.mkv")] == [(29, 65_500, 3)] * 2


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_a_recording_whose_file_is_removed_ends_and_says_so(tmp_path: Path, name: str) -> None:
    if name.endswith("mp4") and shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    said: list[str] = []
    with record(tmp_path / name, say=said.append) as recording:
        (tmp_path / name).unlink()
        recording.write(drawn(), 0.0)
    assert recording.state.ended_by == "somebody has removed its file"
    assert [line.partition(": ")[2] for line in said] == [
        "the recording ends here, the analysis goes on: somebody has removed its file"
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with record(tmp_path / "out.mkv") as recording:
        pass
    recording.close()
    assert list(tmp_path.iterdir()) == []
    assert recording.state.summary == f"recorded no picture, so there is no {tmp_path}/out.mkv"
    (tmp_path / "out.mkv").write_text("of somebody else, meanwhile")
    recording.close()
    assert (tmp_path / "out.mkv").exists()


def test_a_recording_survives_a_failing_run(tmp_path: Path, clip: Path) -> None:
    num_seen = 0

    def fail_late(image_HWC: NDArray[np.uint8]) -> Finding:
        nonlocal num_seen
        num_seen += 1
        if num_seen == 6:
            raise RuntimeError("engine")
        return analyse(image_HWC)

    path = tmp_path / "out.mkv"
    with (
        VideoFile(clip) as source,
        pytest.raises(RuntimeError, match="engine"),
        record(path) as recording,
    ):
        run_live(source, at_once(fail_late), draw, recorder=recording)
    with VideoFile(path) as video:
        assert len(list(video)) == 5


def test_what_was_written_plays_while_the_recording_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    with record(path) as recording:
        recording.write(drawn(50), 0.0)
        wait_until(lambda: recording.state.num_pictures)  # the last cluster waits for no frame
        assert [time_ms for time_ms, _ in played(path)] == [0]
        recording.write(drawn(90), 3.0)
    assert [time_ms for time_ms, _ in played(path)] == [0, 3000]


def test_every_cluster_is_one_write_and_synced_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands for a loss of power: what a sync has returned from is on the disk."""
    path, done = tmp_path / "out.mkv", []
    write, sync, pwrite = os.write, os.fsync, os.pwrite

    def note(what: str, file: int) -> None:
        opened = Path(f"/proc/self/fd/{file}").readlink()
        done.append((what, "file" if opened == path else "folder"))
        assert opened in (path, tmp_path)

    def noted_write(file: int, content: bytes) -> int:
        note("write", file)
        return write(file, content)

    def noted_sync(file: int) -> None:
        note("sync", file)
        sync(file)

    def noted_pwrite(file: int, content: bytes, place: int) -> int:
        note("head", file)
        return pwrite(file, content, place)

    monkeypatch.setattr(os, "write", noted_write)
    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "pwrite", noted_pwrite)
    monkeypatch.setattr(recording_files.MatroskaFile, "span_s", 0.0)
    with record(path) as recording:
        for index in range(3):
            recording.write(drawn(), float(index))
            wait_until(lambda: recording.state.num_pictures == index + 1)  # noqa: B023
    kept = [("write", "file"), ("sync", "file")]
    assert done == [("sync", "folder"), *3 * kept, *kept, ("head", "file"), ("sync", "file")]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("out.gif", r"expected a name ending in \.mkv or \.mp4"),
        ("out.avi", r"expected a name ending in \.mkv or \.mp4"),
        ("there.mkv", "exists already"),
        ("link.mkv", "exists already"),
        ("file/out.mkv", "cannot record there"),
        ("/proc/out.mkv", "cannot record there"),  # not even root may write there
    ],
)
def test_a_recording_is_refused_before_the_run(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "there.mkv").write_text("precious")
    (tmp_path / "link.mkv").symlink_to("gone")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=complaint):
        record(tmp_path / name)
    assert (tmp_path / "there.mkv").read_text() == "precious"


def test_mp4_without_ffmpeg_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnusable, match=r"needs the program ffmpeg.*\.mkv"):
        record(tmp_path / "out.mp4")
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho no such encoder >&2; exit 1\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    with pytest.raises(EnvironmentUnusable, match=r"cannot write H\.264.*\.mkv"):
        record(tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_an_ffmpeg_that_cannot_be_started_leaves_no_file_that_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckd.runtime.sinks.ffmpeg.ffmpeg_command", lambda name: (str(tmp_path),))
    monkeypatch.setattr("ckd.runtime.sinks.recorder.ffmpeg_command", lambda name: ())
    num_open = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(EnvironmentUnusable, match=r"cannot be started \(Permission denied\)"):
        record(tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []
    assert len([*Path("/proc/self/fd").iterdir()]) == num_open


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_an_ffmpeg_that_hangs_is_ended_and_the_recording_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    """Before the first picture, and with its pipe full of pictures."""
    monkeypatch.setattr(ffmpeg, "_HANGS_AFTER_S", 0.2)
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    said: list[str] = []
    with record(tmp_path / "out.mp4", say=said.append) as recording:
        file = recording._file
        assert isinstance(file, ffmpeg.FragmentedMp4)
        file._process.send_signal(signal.SIGSTOP)
        for index in range(2):
            recording.write(Drawn(lambda: noise), index / 10)
            time.sleep(after_s)
    assert recording.state.ended_by == ffmpeg._HANGS
    assert len(said) == 1
    assert file._process.returncode == -signal.SIGKILL


def test_a_full_disk_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 499 * MB))
    with pytest.raises(
        EnvironmentUnusable, match=r"its disk has 499 MB free, .* --min-free keeps 500"
    ):
        Recorder(tmp_path / "out.mkv", min_free_bytes=500 * MB, leaves_out=True, say=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_told_before_and_ends_the_recording_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_mb = [1e12]  # for years, at any rate
    monkeypatch.setattr(recorder, "_LOOK_AT_DISK_S", 0.02)
    monkeypatch.setattr("ckd.runtime.sinks.free_space._MIN_WRITTEN_S", 0.0)
    monkeypatch.setattr(recording_files.MatroskaFile, "span_s", 0.0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, free_mb[0] * MB))
    said: list[str] = []
    path = tmp_path / "out.mkv"
    with Recorder(path, min_free_bytes=500 * MB, leaves_out=True, say=said.append) as recording:
        recording.write(drawn(), 0.0)
        wait_until(lambda: recording.state.time_left_s)
        assert (recording.state.warning, said) == ("", [])
        free_mb[0] = 500.01  # for a few pictures
        wait_until(lambda: said)
        assert "its disk is full in about a minute or less at this rate" in said[0]
        assert recording.state.warning.startswith("Disk full in about a minute or less, ")
        recording.write(drawn(), 0.5)
        wait_until(lambda: recording.state.num_pictures == 2)
        free_mb[0] = 499
        wait_until(lambda: recording.state.ended_by)
        recording.write(Drawn(partial(pytest.fail, "drawn for nobody")), 1.0)
    assert said[-1].startswith(
        f"{path}: the recording ends here, the analysis goes on: its disk has 499 MB"
    )
    assert recording.state.warning.startswith("Recording ended early: its disk has 499 MB")
    with pytest.raises(
        EnvironmentUnusable, match="ended early, after 2 pictures: its disk has 499 MB"
    ):
        recording.state.check()
    with VideoFile(path) as video:
        assert (video.num_frames, len(list(video))) == (2, 2)  # with the index of a whole one


def test_a_write_that_fails_ends_the_recording_at_its_last_whole_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, path = os.write, tmp_path / "out.mkv"
    said: list[str] = []
    monkeypatch.setattr(recording_files.MatroskaFile, "span_s", 0.0)

    def fill_up(file: int, content: memoryview) -> int:
        if path.stat().st_size > 600:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[:1000])  # a disk may take a part

    with record(path, say=said.append) as recording:
        recording.write(drawn(), 0.0)
        wait_until(lambda: recording.state.num_pictures)
        whole = path.read_bytes()
        monkeypatch.setattr(os, "write", fill_up)
        recording.write(drawn(), 1.0)
        wait_until(lambda: recording.state.ended_by)
    assert path.read_bytes() == whole
    assert recording.state.ended_by == os.strerror(errno.ENOSPC)
    assert said == [f"{path}: the recording ends here, the analysis goes on: {os.strerror(28)}"]


def test_what_others_write_shortens_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_mb = [1100.0]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, free_mb[0] * MB))
    disk = FreeSpace(tmp_path / "out.mkv", 500 * MB)
    assert disk.time_left_s(MB, 0.5) is None  # too short to know
    assert disk.time_left_s(10 * MB, 10.0) == pytest.approx(600)
    free_mb[0] = 1000.0
    assert disk.time_left_s(20 * MB, 20.0) == pytest.approx(100)  # 500 MB at 5 MB/s
    assert time_shown(disk.time_left_s(20 * MB, 20.0) or 0) == "about 2 minutes"
    assert [disk.is_news(left_s) for left_s in (600, 599, 598, 59, 58)] == [
        False, True, False, True, False,
    ]  # fmt: skip


def test_a_defect_ends_the_recording_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object, blocks: object, size_hw: object) -> None:
        raise MemoryError

    monkeypatch.setattr(recording_files.MatroskaFile, "write", fail)
    monkeypatch.setattr(recorder, "_MAX_WAITING_BYTES", 1)
    said: list[str] = []
    with record(tmp_path / "out.mkv", leaves_out=False, say=said.append) as recording:
        for index in range(4):
            recording.write(drawn(), float(index))
    assert recording.state.ended_by == "MemoryError"
    assert len(said) == len(caplog.records) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The disk takes nothing while this list holds True, and little waits for it."""
    held, write = [True], recording_files.MatroskaFile.write

    def hold(self: recording_files.MatroskaFile, blocks: Sequence[tuple[int, bytes]],
             size_hw: tuple[int, int]) -> None:  # fmt: skip
        wait_until(lambda: not held[0])
        write(self, blocks, size_hw)

    monkeypatch.setattr(recording_files.MatroskaFile, "write", hold)
    monkeypatch.setattr(recording_files.MatroskaFile, "span_s", 0.0)
    monkeypatch.setattr(recorder, "_MAX_WAITING_BYTES", 3 * len(drawn().jpeg))
    return held


def test_what_a_slow_disk_cannot_take_of_a_live_source_is_counted(
    tmp_path: Path, stuck: list[bool]
) -> None:
    said: list[str] = []
    with record(tmp_path / "out.mkv", say=said.append) as recording:
        recording.write(drawn(), 0.0)
        wait_until(lambda: not recording._waiting)  # it is under way
        for index in range(1, 9):
            recording.write(drawn(), float(index))
        assert recording.state.num_left_out == 5
        stuck[0] = False
    assert [time_ms for time_ms, _ in played(tmp_path / "out.mkv")] == [0, 1000, 2000, 3000]
    assert said == [f"{tmp_path}/out.mkv: the disk is too slow for it, so pictures are left out"]
    assert "4 pictures" in recording.state.summary
    assert "5 left out" in recording.state.summary
    assert recording.state.warning.startswith("5 pictures are not recorded")
    recording.state.check()  # which is no failure


def test_a_video_file_waits_for_a_slow_disk(tmp_path: Path, stuck: list[bool]) -> None:
    with record(tmp_path / "out.mkv", leaves_out=False) as recording:
        recording.write(drawn(), 0.0)
        wait_until(lambda: not recording._waiting)
        for index in range(1, 4):
            recording.write(drawn(), float(index))
        stuck[0] = False
        for index in range(4, 9):
            recording.write(drawn(), float(index))
    assert len(played(tmp_path / "out.mkv")) == 9


def test_a_picture_is_drawn_and_encoded_once() -> None:
    num_drawn = 0

    def draw_once() -> NDArray[np.uint8]:
        nonlocal num_drawn
        num_drawn += 1
        return np.zeros((8, 8, 3), np.uint8)

    picture = Drawn(draw_once)
    assert num_drawn == 0
    assert picture.jpeg is picture.jpeg
    assert picture.image_HWC is picture.image_HWC
    assert num_drawn == 1
