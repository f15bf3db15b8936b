"""Recordings: playable, at the right pace, never half a file under a final name."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.live.rig import HEIGHT, WIDTH, analyse, draw, frame

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.finding.finding import Finding
from ckd.runtime.live import (
    run_live,
)
from ckd.runtime.sinks import Recorder
from ckd.runtime.sources import VideoFile


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "new folder/out.mkv"])
def test_a_recording_with_a_given_rate_holds_each_frame_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with Recorder(path, fps=25.0) as recorder:
        for _ in range(10):
            recorder.write(np.full((HEIGHT, WIDTH, 3), (200, 0, 0), np.uint8), 0.0)
        assert not path.exists()
    with VideoFile(path) as video:
        frames = list(video)
        assert (len(frames), video.fps, video.size_hw) == (10, 25.0, (HEIGHT, WIDTH))
    colour = frames[5].image_HWC[HEIGHT // 2, WIDTH // 2].astype(int)
    np.testing.assert_allclose(colour, [200, 0, 0], atol=10)  # lossy compression
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_recording_follows_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times_s = [i / 20 for i in range(20)] + [1.5, 1.51, 1.52, 1.55] + [600.0]
    with Recorder(path) as recorder:
        for time_s in times_s:
            recorder.write(frame().image_HWC, time_s)
    with VideoFile(path) as video:
        assert video.fps == pytest.approx(20, abs=0.01)
        # 1.55 s at 20 frames/s, then ten silent minutes cut to two seconds.
        assert len(list(video)) == 32 + 40


def test_a_recording_of_few_frames_is_kept(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        recorder.write(frame().image_HWC, 1.0)
    with VideoFile(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 1


def test_odd_and_changing_sizes_are_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", fps=10.0) as recorder:
        recorder.write(frame(height=97, width=131).image_HWC, 0.0)
        recorder.write(frame(height=48, width=64).image_HWC, 0.1)
    with VideoFile(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 2


def test_a_recording_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        pass
    assert recorder.close() is None
    assert list(tmp_path.iterdir()) == []


def test_a_recording_survives_a_failing_run(tmp_path: Path, clip: Path) -> None:
    def fail_late(image_HWC: NDArray[np.uint8]) -> Finding:
        if recorder.num_written == 5:
            raise RuntimeError("engine")
        return analyse(image_HWC)

    path = tmp_path / "out.mp4"
    with (
        VideoFile(clip) as source,
        pytest.raises(RuntimeError, match="engine"),
        Recorder(path, fps=source.fps) as recorder,
    ):
        run_live(source, fail_late, draw, recorder=recorder)
    with VideoFile(path) as video:
        assert len(list(video)) == 5


def test_an_abandoned_recording_is_playable_and_keeps_the_name_of_a_part(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4")
    assert recorder.abandon() is None
    assert list(tmp_path.iterdir()) == []
    for time_s in (1.0, 1.1, 1.2):  # fewer than are held back to measure the rate
        recorder.write(frame().image_HWC, time_s)
    part = recorder.abandon()
    assert [part, tmp_path / "out.part.mp4"] == [*tmp_path.iterdir()] * 2
    assert part is not None
    with VideoFile(part) as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("out.gif", r"expected a name ending in \.mp4"),
        ("there.mp4", "exists already"),
        ("file/out.mp4", "cannot record there"),
        ("/proc/out.mp4", "cannot record there"),  # not even root may write there
    ],
)
def test_a_recording_is_refused_before_the_run(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "there.mp4").write_text("precious")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=complaint):
        Recorder(tmp_path / name)
    assert (tmp_path / "there.mp4").read_text() == "precious"


def test_the_next_codec_is_tried_and_none_is_an_error(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", fps=10.0, codecs=("zzzz", "mp4v")) as recorder:
        recorder.write(frame().image_HWC, 0.0)
    assert (tmp_path / "out.mp4").exists()
    recorder = Recorder(tmp_path / "other.mp4", fps=10.0, codecs=("zzzz",))
    with pytest.raises(EnvironmentUnusable, match="none of the codecs zzzz"):
        recorder.write(frame().image_HWC, 0.0)
