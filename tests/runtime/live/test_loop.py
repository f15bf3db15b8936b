"""The loop: every way it ends, and what it tells of itself."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.live.rig import HEIGHT, analyse, at_once, draw, frame

from ckd.contract.errors import EngineError, SourceUnavailable
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.runtime.live import (
    LiveStatistics,
    Shown,
    Status,
    WebView,
    run_live,
)
from ckd.runtime.live.web_board import Board
from ckd.runtime.sinks import Recorder
from ckd.runtime.sources import FaultKind, Frame, FrameSource, SourceState, open_source

BEGIN = at_once(analyse)


class StillSource(FrameSource):
    """Gives ``num_frames`` frames at once, then nothing; ``state`` is set by the test."""

    name = "still"
    detail = ""
    fps = None
    dropped = 3
    state: SourceState = "live"

    def __init__(self, num_frames: int) -> None:
        self.num_left = num_frames
        self.closed = False

    def get(self, timeout_s: float | None = None) -> Frame | None:
        if self.num_left == 0:
            if self.state == "failed":
                raise SourceUnavailable("still: gone")
            if self.state != "ended":
                time.sleep(min(timeout_s or 0.0, 0.01))
            return None
        self.num_left -= 1
        return frame(self.num_left)

    def close(self) -> None:
        self.closed = True


class LateSource(StillSource):
    """Its last frame comes just after somebody stopped waiting for it, and with it the end."""

    def get(self, timeout_s: float | None = None) -> Frame | None:
        if self.state != "ended":
            self.state = "ended"
            return None
        return super().get(timeout_s)


class SpyView:
    """Remembers what it was told; closes itself after some results."""

    def __init__(self, close_after: int = 10_000) -> None:
        self.close_after = close_after
        self.results: list[Shown] = []
        self.states: list[str] = []
        self.statistics: list[LiveStatistics] = []

    @property
    def closed(self) -> bool:
        return len(self.results) >= self.close_after

    def update(self, status: Status, shown: Shown | None) -> None:
        self.states.append(status.state)
        self.statistics.append(status.statistics)
        if shown is not None:
            self.results.append(shown)


def test_a_file_is_analysed_to_its_end_and_every_result_handed_on(clip: Path) -> None:
    view, seen = SpyView(), []
    with open_source(str(clip)) as source:
        report = run_live(
            source,
            BEGIN,
            draw,
            views=[view],
            on_finding=lambda f, _: seen.append(f.index),
        )
    assert report.stopped_by == "source ended"
    assert seen == [shown.frame.index for shown in view.results] == list(range(12))
    assert view.states[-1] == "ended"
    np.testing.assert_array_equal(view.results[0].overlay_HWC[0, 0], [255, 0, 0])
    statistics = report.statistics
    assert (statistics.num_analysed, statistics.num_dropped) == (12, 0)
    assert statistics.fps is not None
    assert statistics.latency_p50_ms is not None
    assert statistics.latency_p90_ms is not None
    assert 0 < statistics.latency_p50_ms <= statistics.latency_p90_ms < 1000


def test_latency_counts_from_the_grab_of_the_frame() -> None:
    def slowly(image_HWC: NDArray[np.uint8]) -> Finding:
        time.sleep(0.02)
        return analyse(image_HWC)

    report = run_live(StillSource(3), at_once(slowly), draw, max_frames=3)
    assert report.statistics.num_dropped == 3
    assert report.statistics.latency_p50_ms is not None
    assert report.statistics.latency_p50_ms >= 20


def test_a_frame_without_usable_numbers_is_counted_and_not_shown() -> None:
    turn = iter(range(100))

    def at_times(image_HWC: NDArray[np.uint8]) -> Finding:
        if next(turn) in (1, 2):
            raise NotFinite("no usable numbers")
        return analyse(image_HWC)

    source, view, seen = StillSource(50), SpyView(), []
    source.state = "live"
    report = run_live(
        source, at_once(at_times), draw, views=[view], max_frames=5,
        on_finding=lambda frame, _: seen.append(frame.index),
    )  # fmt: skip
    assert seen == [49, 46, 45] == [shown.frame.index for shown in view.results]
    assert view.states == ["live", "no answer", "no answer", "live", "live"]
    assert (report.statistics.num_analysed, report.statistics.num_unusable) == (5, 2)
    assert "5 frames analysed, 3 dropped, 2 without usable numbers" in report.summary


class FaultySource(StillSource):
    """A camera some of whose frames were not whole."""

    faults: Mapping[FaultKind, int] = {"damaged": 4, "late": 1}


def test_faults_of_frames_are_told_to_views_and_in_the_report() -> None:
    view = SpyView()
    report = run_live(FaultySource(2), BEGIN, draw, views=[view], max_frames=2)
    assert view.statistics[-1].faults == report.statistics.faults == {"damaged": 4, "late": 1}
    assert "2 frames analysed, 3 dropped, 4 damaged, 1 late, latency" in report.summary
    assert "3 dropped, latency" in run_live(StillSource(2), BEGIN, draw, max_frames=2).summary


class GrowingSource(StillSource):
    """Frames of another size each."""

    def get(self, timeout_s: float | None = None) -> Frame | None:
        self.num_left -= 1
        return frame(2 - self.num_left, HEIGHT, 100 * (3 - self.num_left))


def test_frames_of_a_new_size_are_shown_and_recorded(tmp_path: Path) -> None:
    view = SpyView()
    with Recorder(tmp_path / "live.mkv", min_free_bytes=0, leaves_out=True, say=print) as recorder:
        run_live(GrowingSource(3), BEGIN, draw, views=[view], recorder=recorder, max_frames=3)
    sizes = [shown.overlay_HWC.shape for shown in view.results]
    assert sizes == [(HEIGHT, width, 3) for width in (100, 200, 300)]
    assert recorder.state.num_pictures == 3


def test_the_loop_stops_at_a_number_of_frames() -> None:
    report = run_live(StillSource(50), BEGIN, draw, max_frames=4)
    assert (report.stopped_by, report.statistics.num_analysed) == ("max frames", 4)


def test_the_loop_stops_after_a_time_even_without_a_signal() -> None:
    source, view = StillSource(0), SpyView()
    source.state = "no signal"
    started_s = time.monotonic()
    report = run_live(source, BEGIN, draw, views=[view], duration_s=0.1)
    assert report.stopped_by == "duration"
    assert 0.1 <= time.monotonic() - started_s < 2
    assert set(view.states) == {"no signal"}
    assert report.statistics.fps is None
    assert report.statistics.latency_p50_ms is None


def test_the_loop_stops_when_a_view_is_closed() -> None:
    report = run_live(StillSource(50), BEGIN, draw, views=[SpyView(), SpyView(close_after=2)])
    assert (report.stopped_by, report.statistics.num_analysed) == ("view closed", 2)


def test_ctrl_c_ends_the_loop_and_keeps_the_report() -> None:
    def press(one: Frame, finding: Finding) -> None:
        raise KeyboardInterrupt

    report = run_live(StillSource(5), BEGIN, draw, on_finding=press)
    assert (report.stopped_by, report.statistics.num_analysed) == ("interrupted", 1)


def test_a_source_that_fails_is_shown_and_raised() -> None:
    source, view = StillSource(1), SpyView()
    source.state = "failed"
    with pytest.raises(SourceUnavailable, match="gone"):
        run_live(source, BEGIN, draw, views=[view])
    assert view.states[-1] == "failed"
    assert not source.closed  # it is the caller's


def test_nothing_is_drawn_for_nobody() -> None:
    def refuse(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
        raise AssertionError("drawn")

    assert run_live(StillSource(2), BEGIN, refuse, max_frames=2).stopped_by == "max frames"
    with WebView(port=0) as page:  # which no browser has opened
        report = run_live(StillSource(2), BEGIN, refuse, views=[page], max_frames=2)
    assert report.statistics.num_analysed == 2


def test_the_page_and_the_recording_share_one_drawing_and_one_jpeg(tmp_path: Path) -> None:
    num_drawn, path = 0, tmp_path / "out.mkv"

    def draw_and_count(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
        nonlocal num_drawn
        num_drawn += 1
        return draw(image_HWC, finding)

    view = SpyView()
    with Recorder(path, min_free_bytes=0, leaves_out=True, say=print) as recorder:
        run_live(
            StillSource(3),
            BEGIN,
            draw_and_count,
            views=[view],
            recorder=recorder,
            max_frames=3,
        )
    board = Board("bench", None, max_side_px=1920)
    board.publish(Status(state="live"), view.results[-1])
    served = board.next_jpeg(0, timeout_s=0.0)
    assert served is not None
    assert served[1] in path.read_bytes()
    assert num_drawn == 3


def test_a_last_frame_that_comes_with_the_end_is_analysed() -> None:
    report = run_live(LateSource(1), BEGIN, draw)
    assert report.stopped_by == "source ended"
    assert report.statistics.num_analysed == 1


def test_the_networks_have_the_next_frame_while_a_finding_is_made() -> None:
    begun: Queue[int] = Queue()

    def begin(image_HWC: NDArray[np.uint8]) -> Callable[[], Finding]:
        begun.put(1)

        def make() -> Finding:
            begun.get(timeout=5)  # this one
            begun.get(timeout=5)  # the next one, or Empty
            begun.put(1)  # which is asked for again when its own turn comes
            return analyse(image_HWC)

        return make

    seen: list[int] = []
    report = run_live(
        StillSource(50), begin, draw, views=[SpyView(close_after=4)],
        on_finding=lambda frame, _: seen.append(frame.index),
    )  # fmt: skip
    assert (report.stopped_by, seen) == ("view closed", [49, 48, 47, 46])


def test_a_frame_that_fails_ends_the_loop_after_the_one_before_was_shown() -> None:
    source, view = StillSource(3), SpyView()

    def begin(image_HWC: NDArray[np.uint8]) -> Callable[[], Finding]:
        if source.num_left == 0:
            raise EngineError("no network")
        return partial(analyse, image_HWC)

    with pytest.raises(EngineError, match="no network"):
        run_live(source, begin, draw, views=[view])
    assert [shown.frame.index for shown in view.results] == [2, 1]
