"""A whole video file: every frame has its own finding, and no half video has a final name."""

import csv
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import num_frames
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeCudaBackend
from tests.runtime.photographs import assert_equal, photo, session_function

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, SourceUnavailable
from ckd.finding.finding import Finding
from ckd.runtime import Cascade
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.engine import Backend
from ckd.runtime.sinks import ResultFolder
from ckd.runtime.sources import Frame, VideoFile
from ckd.runtime.video import analyse_video

NUM_FRAMES = 30


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 60))
    for seed in range(NUM_FRAMES):
        writer.write(np.ascontiguousarray(photo(seed)[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(params=["host", "device"])
def cascade(request: pytest.FixtureRequest, tiny_bundle: Path) -> Iterator[Cascade]:
    """On a device frames overlap: the next one is taken before a finding is given."""
    cuda = RecordingCuda()
    backend: Backend = OnnxRuntimeBackend(1)
    if request.param == "device":
        backend = FakeCudaBackend(cuda, session_function)
    with Cascade(Bundle(tiny_bundle), backend, "fp32") as cascade:
        yield cascade
    assert cuda.leaks() == []


@pytest.fixture
def folder(tmp_path: Path, cascade: Cascade) -> Iterator[ResultFolder]:
    with ResultFolder(tmp_path / "out", cascade.spec.labels, {}) as folder:
        yield folder


def names(folder: ResultFolder) -> list[str]:
    with (folder.folder / "predictions.csv").open(newline="") as file:
        return [row["image"] for row in csv.DictReader(file)]


def test_every_frame_has_its_own_finding(
    clip: Path, cascade: Cascade, folder: ResultFolder
) -> None:
    results: list[tuple[Frame, Finding]] = []
    with VideoFile(clip) as source:
        report = analyse_video(
            source, cascade, folder, on_finding=lambda *result: results.append(result)
        )
    assert [frame.index for frame, _ in results] == list(range(NUM_FRAMES))
    for frame, finding in results:
        assert_equal(finding, cascade.predict(frame.image_HWC))
    assert names(folder) == [f"clip_{index:06d}" for index in range(NUM_FRAMES)]
    assert report.overlay == folder.folder / "clip_overlay.mkv"
    assert report.num_frames == num_frames(report.overlay) == NUM_FRAMES
    assert report.summary.startswith("30 frames, ")
    assert report.summary.endswith(f" frames/s; overlay in {report.overlay}")


def test_no_frame_is_taken_beyond_the_limit(
    clip: Path, cascade: Cascade, folder: ResultFolder
) -> None:
    with VideoFile(clip) as source:
        report = analyse_video(source, cascade, folder, max_frames=4)
        next_frame = source.get()
    assert next_frame is not None
    assert next_frame.index == report.num_frames == num_frames(report.overlay) == 4


def test_a_damaged_file_leaves_a_part_with_all_frames_before(
    clip: Path, cascade: Cascade, folder: ResultFolder
) -> None:
    earlier = [folder.folder / f"clip_overlay.{end}" for end in ("mkv", "mp4", "part.mp4")]
    for video in earlier:
        video.write_text("of an earlier run")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    said: list[str] = []
    with VideoFile(clip) as source, pytest.raises(SourceUnavailable, match="cut off or damaged"):
        analyse_video(source, cascade, folder, say=said.append)
    part = folder.folder / "clip_overlay.part.mkv"
    assert said == [f"not finished: the overlay up to here is in {part}"]
    assert not any(video.exists() for video in earlier)
    assert 0 < num_frames(part) == len(names(folder)) < NUM_FRAMES


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError])
def test_what_stops_the_work_is_raised_once_the_part_is_playable(
    clip: Path, cascade: Cascade, folder: ResultFolder, error: type[BaseException]
) -> None:
    def stop(frame: Frame, finding: Finding) -> None:
        if frame.index == 2:
            raise error

    said: list[str] = []
    with VideoFile(clip) as source, pytest.raises(error):
        analyse_video(source, cascade, folder, on_finding=stop, say=said.append)
    assert len(said) == 1
    assert num_frames(folder.folder / "clip_overlay.part.mkv") == 3


def test_what_fails_before_the_first_frame_leaves_no_video(
    clip: Path, cascade: Cascade, folder: ResultFolder
) -> None:
    cascade.close()
    said: list[str] = []
    with VideoFile(clip) as source, pytest.raises(EngineError, match="closed"):
        analyse_video(source, cascade, folder, say=said.append)
    assert said == []
    assert not list(folder.folder.glob("*.mkv"))
    for kind in ("overlay", "overlay.part"):  # of earlier runs: nothing has taken their place
        (folder.folder / f"clip_{kind}.mkv").write_text(kind)
    with VideoFile(clip) as source, pytest.raises(EngineError, match="closed"):
        analyse_video(source, cascade, folder)
    for kind in ("overlay", "overlay.part"):
        assert (folder.folder / f"clip_{kind}.mkv").read_text() == kind


def test_a_disk_that_fills_up_ends_the_video_and_not_the_analysis(
    clip: Path, cascade: Cascade, folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, num_writes, part = os.write, 0, folder.folder / "clip_overlay.part.mkv"

    def fill_up(file: int, content: memoryview) -> int:
        nonlocal num_writes
        is_of_video = part.exists() and os.path.samestat(os.fstat(file), part.stat())
        num_writes += is_of_video
        if is_of_video and num_writes > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content)

    monkeypatch.setattr(os, "write", fill_up)
    said: list[str] = []
    with VideoFile(clip) as source:
        report = analyse_video(source, cascade, folder, say=said.append)
    assert report.num_frames == len(names(folder)) == NUM_FRAMES
    assert not (folder.folder / "clip_overlay.mkv").exists()
    (recording,) = report.recordings
    with pytest.raises(EnvironmentUnusable, match="the recording ended early"):
        recording.check()
    assert "the recording ends here, the analysis goes on" in said[0]
    assert num_frames(part) == recording.num_pictures > 0


def test_an_overlay_in_mp4_needs_ffmpeg_before_anything_is_analysed(
    clip: Path, cascade: Cascade, folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(frame: Frame, finding: Finding) -> None:
        raise AssertionError("analysed")

    monkeypatch.setenv("PATH", "")
    with VideoFile(clip) as source, pytest.raises(EnvironmentUnusable, match="needs the program"):
        analyse_video(source, cascade, folder, video_format="mp4", on_finding=fail)
    assert names(folder) == []
