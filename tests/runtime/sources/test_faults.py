"""What is counted about frames, by a reader that a test has written down."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ckd.runtime.sources import FaultKind, LatestFrame, Reconnect, faults_shown
from ckd.runtime.sources.faults import FaultCounter, FrameFault, Grabbed


def grabbed(at_s: float, grey: int = 0, height: int = 32, jpeg: bytes | None = None) -> Grabbed:
    return Grabbed(np.full((height, 48, 3), grey, np.uint8), at_s, jpeg)


def counted(*frames: Grabbed | FrameFault) -> dict[FaultKind, int]:
    counter = FaultCounter()
    for frame in frames:
        counter.unusable(frame) if isinstance(frame, FrameFault) else counter.usable(frame)
    return dict(counter.counts)


def at_times(*times_s: float) -> list[Grabbed]:
    return [grabbed(at_s, grey % 200) for grey, at_s in enumerate(times_s)]


STEADY_S = [0.1 * number for number in range(7)]


def test_frames_as_they_should_be_are_no_fault() -> None:
    assert counted(*at_times(*STEADY_S, 0.7, 0.9, 1.15)) == {}
    assert faults_shown({}) == ""


@pytest.mark.parametrize(
    ("times_s", "num_late"),
    [
        ([*STEADY_S, 0.89], 0),  # not three intervals
        ([*STEADY_S, 0.91], 1),
        ([*STEADY_S, 0.91, 1.01, 1.4], 2),
        ([*STEADY_S[:5], 5.0], 0),  # what is typical is not known yet
        ([0.01 * number for number in range(7)] + [0.15], 0),  # nobody sees a tenth of a second
        ([0.01 * number for number in range(7)] + [0.17], 1),
    ],
)
def test_a_frame_is_late_by_what_is_typical(times_s: list[float], num_late: int) -> None:
    assert counted(*at_times(*times_s)).get("late", 0) == num_late


def test_damaged_frames_do_not_make_the_next_one_late() -> None:
    bad = [FrameFault("damaged", "cut off", 0.7 + 0.1 * number) for number in range(5)]
    assert counted(*at_times(*STEADY_S), *bad, *at_times(1.2)) == {"damaged": 5}


def test_a_new_connection_is_not_late() -> None:
    counter = FaultCounter()
    for frame in at_times(*STEADY_S):
        counter.usable(frame)
    counter.reconnected()
    for frame in at_times(60.0, *(60.0 + at_s for at_s in STEADY_S)):
        counter.usable(frame)
    assert dict(counter.counts) == {}


def test_how_long_a_frame_may_take_is_known_after_two() -> None:
    counter = FaultCounter()
    expected_s = []
    for frame in at_times(0.0, 2.0, 9.0, 11.0, 13.0, 15.0, 17.5):
        counter.usable(frame)
        expected_s.append(counter.expected_s)
    assert expected_s == [None, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_a_frame_is_repeated_if_its_bytes_are_the_same_or_its_pixels() -> None:
    pixels = [grabbed(0.0, 5), grabbed(0.1, 5), grabbed(0.2, 6)]
    assert counted(*pixels) == {"repeated": 1}
    sent = [grabbed(0.0, 5, jpeg=b"a"), grabbed(0.1, 5, jpeg=b"b"), grabbed(0.2, 5, jpeg=b"b")]
    assert counted(*sent) == {"repeated": 1}
    almost = grabbed(0.1, 5)
    almost.image[17, 3, 1] = 6
    assert counted(grabbed(0.0, 5), almost) == {}


def test_a_new_size_is_counted_once() -> None:
    sizes = (32, 32, 64, 64, 32)
    frames = [grabbed(0.1 * i, i, height) for i, height in enumerate(sizes)]
    assert counted(*frames) == {"resized": 2}


def test_counts_are_shown_in_words() -> None:
    assert faults_shown({"late": 1, "damaged": 3, "refused": 2}) == (
        "3 damaged, 2 refused for their size, 1 late"
    )


class Scripted:
    """A reader that gives what it was told, and then nothing."""

    fps: float | None = None
    finite = False

    def __init__(
        self, *steps: Grabbed | FrameFault, then: Callable[[], None] | None = None
    ) -> None:
        self._steps: Iterator[Grabbed | FrameFault] = iter(steps)
        self._then = then

    def read(self) -> Grabbed | None:
        for step in self._steps:
            if isinstance(step, FrameFault):
                raise step
            return step
        time.sleep(0.01)
        if self._then is not None:
            raise FrameFault("damaged", "torn", time.monotonic())
        return None

    def close(self) -> None: ...


def test_the_first_frame_may_be_impossible_and_the_stream_goes_on() -> None:
    now_s = time.monotonic()
    steps = (
        grabbed(now_s, 1, height=8),
        FrameFault("refused", "10000x10000 pixels", now_s),
        FrameFault("damaged", "cut off", now_s),
        grabbed(now_s, 7),
    )
    with LatestFrame(lambda: Scripted(*steps), name="odd", reconnect=Reconnect()) as source:
        frame = source.get(2.0)
        assert frame is not None
        assert (frame.index, frame.image_HWC[0, 0, 0], frame.size_hw) == (0, 7, (32, 48))
        assert dict(source.faults) == {"damaged": 1, "refused": 2}
        assert source.dropped == 0


def test_a_camera_that_sends_nothing_whole_says_so_and_is_not_given_up() -> None:
    reader = Scripted(then=lambda: None)
    with LatestFrame(lambda: reader, name="odd") as source:
        assert source.get(0.1) is None
        assert source.state == "connecting"
        assert source.detail == "no picture that can be used yet; what arrives: torn"
        assert source.faults["damaged"] > 1


def test_no_whole_picture_is_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckd.runtime.sources.latest.SILENT_AFTER_S", 0.05)
    reader = Scripted(grabbed(time.monotonic(), 7), then=lambda: None)
    with LatestFrame(lambda: reader, name="odd") as source:
        assert source.get(1.0) is not None
        assert source.get(0.2) is None
        assert source.state == "no signal"
        assert source.detail.endswith("; what arrives: torn")


def test_a_stream_that_ends_after_frames_that_were_not_whole_is_opened_again() -> None:
    opened = []

    def opener() -> Scripted:
        opened.append(1)
        good = [grabbed(time.monotonic(), 7)] if len(opened) == 3 else []
        return Scripted(FrameFault("damaged", "cut off", time.monotonic()), *good)

    quick = Reconnect(first_delay_s=0.01, factor=1)
    with LatestFrame(opener, name="odd", reconnect=quick) as source:
        assert source.get(2.0) is not None
        assert source.faults["damaged"] >= 3
