"""The loops hand every analysed frame to a journal, also one without a finding."""

import errno
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeCudaBackend
from tests.runtime.journal.rig import Still, replayed, segments
from tests.runtime.photographs import photo, session_function

from ckd.contract.bundle import Bundle
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.runtime import Cascade
from ckd.runtime.journal import Journal, writing
from ckd.runtime.live import Shown, Status, run_live
from ckd.runtime.sinks import ResultFolder
from ckd.runtime.sources import Frame, VideoFile
from ckd.runtime.video import analyse_video

NUM_FRAMES = 5


class Photographs(Still):
    """Gives some photographs at once, and ends."""

    def __init__(self) -> None:
        self.num_given = 0

    def get(self, timeout_s: float | None = None) -> Frame | None:
        if self.num_given == NUM_FRAMES:
            self.state = "ended"
            return None
        self.num_given += 1
        return Frame(photo(self.num_given), 2 * self.num_given, time.monotonic())


class Told:
    """A view that remembers what it was told of the state."""

    closed = False

    def __init__(self) -> None:
        self.details: list[str] = []

    def update(self, status: Status, shown: Shown | None) -> None:
        self.details.append(status.journal)


def no_drawing(image_HWC: Any, finding: Finding) -> Any:
    return image_HWC


def test_a_live_run_is_recorded_with_its_keys(cascade: Cascade, tmp_path: Path) -> None:
    def begin(image_HWC: Any) -> Callable[[], Finding]:
        make, number = cascade.begin(image_HWC), source.num_given

        def finding() -> Finding:
            made = make()
            if number == 2:
                raise NotFinite("no usable numbers")
            return made

        return finding

    source = Photographs()
    with Journal(tmp_path, cascade, source, limit=10**9) as journal:
        run_live(
            source, begin, no_drawing, journal=journal,
            on_finding=lambda frame, finding: journal.key("window", f"k{frame.index}"),
        )  # fmt: skip
    (segment,) = segments(tmp_path)
    assert [frame.source_index for frame in segment.frames] == [2, 4, 6, 8, 10]
    assert [frame.finding is None for frame in segment.frames] == [False, True, *[False] * 3]
    kinds = [line["kind"] for line in segment.lines]
    assert kinds == ["state", "frame", "key", "frame", *["frame", "key"] * 3]
    assert segment.lines[2]["key"] == "k2"
    ages_s = [frame.line["analysed_s"] - frame.line["captured_s"] for frame in segment.frames]
    assert all(0 < age_s < 60 for age_s in ages_s)


def test_views_are_told_that_nothing_is_recorded(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    class Slow(Photographs):
        """Ends once the views have been told."""

        def get(self, timeout_s: float | None = None) -> Frame | None:
            frame = super().get(timeout_s)
            if frame is None and not any(view.details) and time.monotonic() < deadline_s:
                self.state = "live"
                time.sleep(0.001)
            return frame

    monkeypatch.setattr(writing, "replace_file", full)
    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)
    view, deadline_s = Told(), time.monotonic() + 10
    source = Slow()
    with Journal(tmp_path, cascade, source, limit=10**9) as journal:
        report = run_live(source, cascade.begin, no_drawing, views=[view], journal=journal)
    assert report.statistics.num_analysed == NUM_FRAMES
    assert view.details[-1] == "No space left on device"
    assert f"0 frames in 0 segments, {NUM_FRAMES} not recorded (No space left" in journal.summary


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 60))
    for seed in range(NUM_FRAMES):
        writer.write(np.ascontiguousarray(photo(seed)[..., ::-1]))
    writer.release()
    return path


@pytest.mark.parametrize("every_tensor", [False, True])
def test_a_video_on_a_gpu_is_recorded_frame_by_frame(
    tiny_bundle: Path, cascade: Cascade, clip: Path, tmp_path: Path, every_tensor: bool
) -> None:
    """On a fake one, which computes what the processor does: so that replays the same bits."""
    backend = FakeCudaBackend(RecordingCuda(), session_function)
    folder = tmp_path / "journal"
    with (
        Cascade(Bundle(tiny_bundle), backend, "fp32") as on_gpu,
        VideoFile(clip) as source,
        ResultFolder(tmp_path / "out", on_gpu.spec.labels, {}) as results,
        Journal(
            folder, on_gpu, source, limit=10**9, every_tensor=every_tensor, waits=True
        ) as journal,
    ):
        analyse_video(source, on_gpu, results, journal=journal)
    frames, _, _ = replayed(folder, cascade)
    assert [one.stored.source_index for one in frames] == [0, 1, 2, 3, 4]
    assert [one.difference for one in frames] == [None] * NUM_FRAMES
    assert all(bool(one.stored.tensors) is every_tensor for one in frames)


def test_the_frame_that_ends_a_video_is_recorded(
    cascade: Cascade, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, turn = cascade.chain.run, iter(range(NUM_FRAMES))

    def broken(*arguments: Any) -> Mapping[str, Any]:
        outputs = dict(run(*arguments))
        if next(turn) == 2:
            outputs["mask_logits"] = np.full_like(outputs["mask_logits"], np.inf)
        return outputs

    monkeypatch.setattr(cascade.chain, "run", broken)
    folder = tmp_path / "journal"
    with (
        VideoFile(clip) as source,
        ResultFolder(tmp_path / "out", cascade.spec.labels, {}) as results,
        Journal(folder, cascade, source, limit=10**9) as journal,
        pytest.raises(NotFinite, match="frame 2: "),
    ):
        analyse_video(source, cascade, results, journal=journal)
    (segment,) = segments(folder)
    assert [frame.finding is None for frame in segment.frames] == [False, False, True]
