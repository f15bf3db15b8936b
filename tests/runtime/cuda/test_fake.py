"""The recording device finds the mistakes that it is there to find, and no others."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from tests.runtime.cuda.fake import SEEDS, RecordingCuda

from ckd.contract.errors import EngineError

BYTES = 64


class Desk:
    """Two streams, an event, device memory, and page-locked memory to look at."""

    def __init__(self, cuda: RecordingCuda) -> None:
        self.cuda = cuda
        self.one, self.two = cuda.create_stream(), cuda.create_stream()
        self.event = cuda.create_event()
        self.first, self.second = cuda.allocate(BYTES), cuda.allocate(BYTES)
        self.pinned = cuda.allocate_pinned(2 * BYTES)
        self.host = cuda.host_array(self.pinned, (2, BYTES), "uint8")

    def send(self, stream: int) -> None:
        self.cuda.copy(self.first, self.pinned, BYTES, stream)

    def pass_on(self, stream: int) -> None:
        self.cuda.copy(self.second, self.first, BYTES, stream)

    def fetch(self, stream: int) -> None:
        self.cuda.copy(self.pinned + BYTES, self.second, BYTES, stream)

    def fork(self) -> None:
        self.cuda.record(self.event, self.one)
        self.cuda.wait(self.two, self.event)

    def join(self) -> None:
        self.cuda.record(self.event, self.two)
        self.cuda.wait(self.one, self.event)

    def close(self) -> None:
        for stream in (self.one, self.two):
            self.cuda.destroy_stream(stream)
        self.cuda.destroy_event(self.event)
        for address in (self.first, self.second):
            self.cuda.free(address)
        self.cuda.free_pinned(self.pinned)


def right_answers(work: Callable[[Desk], None]) -> list[bool]:
    """For every seed, whether 7 came out where 7 was put in."""
    right = []
    for seed in SEEDS:
        desk = Desk(RecordingCuda(seed))
        desk.host[0], desk.host[1] = 7, 0
        work(desk)
        desk.cuda.synchronize(desk.one)
        right.append(bool((desk.host[1] == 7).all()))
    return right


# Order


def test_work_is_done_when_somebody_waits_for_it() -> None:
    desk = Desk(RecordingCuda(eagerness=0.0))
    desk.host[0], desk.host[1] = 7, 0
    for step in (desk.send, desk.pass_on, desk.fetch):
        step(desk.one)
    assert not desk.host[1].any()
    desk.cuda.synchronize(desk.two)
    desk.cuda.synchronize(desk.one)
    assert (desk.host[1] == 7).all()


def test_one_stream_keeps_its_order() -> None:
    def work(desk: Desk) -> None:
        for step in (desk.send, desk.pass_on, desk.fetch):
            step(desk.one)

    assert all(right_answers(work))


def test_events_order_streams() -> None:
    def work(desk: Desk) -> None:
        desk.send(desk.one)
        desk.fork()
        desk.pass_on(desk.two)
        desk.join()
        desk.fetch(desk.one)

    assert all(right_answers(work))


@pytest.mark.parametrize("missing", ["fork", "join"])
def test_a_missing_wait_gives_wrong_answers(missing: str) -> None:
    def work(desk: Desk) -> None:
        desk.send(desk.one)
        if missing != "fork":
            desk.fork()
        desk.pass_on(desk.two)
        if missing != "join":
            desk.join()
        desk.fetch(desk.one)

    assert not all(right_answers(work))


@pytest.mark.parametrize("missing", [None, "fork"])
def test_a_graph_keeps_the_order_that_was_recorded_and_no_other(missing: str | None) -> None:
    def work(desk: Desk) -> None:
        desk.cuda.begin_capture(desk.one)
        desk.fork()  # so that the second stream records
        desk.send(desk.one)
        if missing != "fork":
            desk.fork()
        desk.pass_on(desk.two)
        desk.join()
        desk.fetch(desk.one)
        graph = desk.cuda.end_capture(desk.one)
        assert not desk.cuda.copies
        desk.cuda.launch(graph, desk.one)

    assert all(right_answers(work)) == (missing is None)


def test_an_event_means_what_was_in_the_stream_when_it_was_recorded() -> None:
    def work(desk: Desk) -> None:
        desk.fork()
        desk.send(desk.one)  # after the event
        desk.pass_on(desk.two)
        desk.join()
        desk.fetch(desk.one)

    assert not all(right_answers(work))


@pytest.mark.parametrize("when", ["too early", "too late"])
def test_a_host_that_writes_while_it_is_copied_is_found(when: str) -> None:
    def work(desk: Desk) -> None:
        if when == "too late":
            desk.host[0] = 0
        for step in (desk.send, desk.pass_on, desk.fetch):
            step(desk.one)
        desk.host[0] = 7 if when == "too late" else 0

    assert not all(right_answers(work))


def test_launches_of_one_graph_follow_each_other() -> None:
    for seed in SEEDS:
        desk = Desk(RecordingCuda(seed))
        desk.cuda.begin_capture(desk.one)
        started: list[str] = []
        for what in "ab":
            desk.cuda.put(desk.one, functools.partial(started.append, what))
        graph = desk.cuda.end_capture(desk.one)
        desk.cuda.launch(graph, desk.one)
        desk.cuda.launch(graph, desk.two)
        desk.cuda.synchronize(desk.one)
        desk.cuda.synchronize(desk.two)
        assert "".join(started) == "abab"


def test_the_time_between_events_is_that_of_the_work_between() -> None:
    desk = Desk(RecordingCuda(eagerness=0.0))
    start, end = (desk.cuda.create_event(timing=True) for _ in range(2))
    desk.cuda.record(start, desk.one)
    desk.send(desk.one)
    desk.cuda.record(end, desk.one)
    with pytest.raises(EngineError, match="NOT_READY"):
        desk.cuda.elapsed_ms(start, end)
    desk.cuda.synchronize(desk.one)
    assert desk.cuda.elapsed_ms(start, end) > 0
    with pytest.raises(EngineError, match="no clock"):
        desk.cuda.elapsed_ms(start, desk.event)


# Memory


@pytest.mark.parametrize(
    ("source", "num_bytes"),
    [
        (lambda desk: desk.pinned, 2 * BYTES + 1),
        (lambda desk: desk.pinned + BYTES + 1, BYTES),
        (lambda desk: desk.pinned - 1, BYTES),
        (lambda desk: desk.pinned, 0),
        (lambda desk: 0, BYTES),
    ],
)
def test_addresses_outside_an_allocation_are_refused(
    source: Callable[[Desk], int], num_bytes: int
) -> None:
    desk = Desk(RecordingCuda())
    to = desk.cuda.allocate(4 * BYTES)
    with pytest.raises(EngineError, match="CUDA_ERROR"):
        desk.cuda.copy(to, source(desk), num_bytes, desk.one)


def test_released_memory_is_refused_and_work_on_it_is_found() -> None:
    desk = Desk(RecordingCuda(eagerness=0.0))
    desk.send(desk.one)
    desk.cuda.free(desk.first)
    with pytest.raises(EngineError, match="released"):
        desk.send(desk.one)
    with pytest.raises(EngineError, match="released"):
        desk.cuda.synchronize(desk.one)
    with pytest.raises(EngineError, match="LAUNCH_FAILED"):  # and from now on everything fails
        desk.cuda.create_stream()


def test_memory_is_released_once_and_as_what_it_was() -> None:
    desk = Desk(RecordingCuda())
    with pytest.raises(EngineError, match="no address of host memory"):
        desk.cuda.free_pinned(desk.first)
    with pytest.raises(EngineError, match="no address"):
        desk.cuda.free(desk.first + 1)
    desk.cuda.free(desk.first)
    with pytest.raises(EngineError, match="twice"):
        desk.cuda.free(desk.first)
    desk.cuda.free(0)


def test_the_host_cannot_touch_device_memory() -> None:
    desk = Desk(RecordingCuda())
    with pytest.raises(EngineError, match="device memory"):
        desk.cuda.host_array(desk.first, (BYTES,), "uint8")


def test_copies_are_counted_by_kind_when_they_happen() -> None:
    desk = Desk(RecordingCuda())
    for step in (desk.send, desk.pass_on, desk.pass_on, desk.fetch):
        step(desk.one)
    desk.cuda.synchronize(desk.one)
    assert desk.cuda.copies == {
        "host to device": 1,
        "device to device": 2,
        "device to host": 1,
    }
    assert desk.cuda.copied_bytes["device to device"] == 2 * BYTES


def test_what_is_not_given_back_is_reported() -> None:
    desk = Desk(RecordingCuda())
    held = desk.cuda.leaks()
    assert sorted(held) == sorted(
        ["64 bytes of device memory"] * 2
        + ["128 bytes of host memory", "a stream", "a stream", "an event"]
    )
    desk.close()
    assert desk.cuda.leaks() == []
    desk.host[0] = 1
    assert desk.cuda.leaks() == ["released host memory was written"]


def test_handles_that_are_used_after_their_end_are_reported() -> None:
    desk = Desk(RecordingCuda())
    desk.close()
    with pytest.raises(EngineError, match="INVALID_HANDLE"):
        desk.cuda.synchronize(desk.one)
    assert desk.cuda.leaks() == [f"handle {desk.one:#x} was used, which there is not"]


def test_memory_given_back_too_early_is_reported() -> None:
    desk = Desk(RecordingCuda(eagerness=0.0))
    desk.send(desk.one)
    desk.close()
    assert "under way" in desk.cuda.leaks()[0]


# Recording


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda desk: desk.cuda.synchronize(desk.one),
        lambda desk: desk.cuda.synchronize(desk.two),
        lambda desk: desk.cuda.allocate(BYTES),
        lambda desk: desk.cuda.allocate_pinned(BYTES),
        lambda desk: desk.cuda.free(desk.second),
        lambda desk: desk.cuda.elapsed_ms(desk.event, desk.event),
        lambda desk: desk.cuda.wait(desk.one, desk.event),  # recorded before
    ],
)
def test_what_cannot_be_recorded_ends_the_recording(forbidden: Callable[[Desk], object]) -> None:
    desk = Desk(RecordingCuda())
    desk.cuda.record(desk.event, desk.two)
    desk.cuda.begin_capture(desk.one)
    with pytest.raises(EngineError, match="STREAM_CAPTURE"):
        forbidden(desk)
    with pytest.raises(EngineError, match="INVALIDATED"):
        desk.send(desk.one)
    with pytest.raises(EngineError, match="INVALIDATED"):
        desk.cuda.end_capture(desk.one)
    desk.send(desk.one)  # which works again
    desk.cuda.synchronize(desk.one)


def test_every_fork_must_be_joined() -> None:
    desk = Desk(RecordingCuda())
    desk.cuda.begin_capture(desk.one)
    desk.fork()
    desk.pass_on(desk.two)
    with pytest.raises(EngineError, match="UNJOINED"):
        desk.cuda.end_capture(desk.one)
    desk.pass_on(desk.two)
    desk.cuda.synchronize(desk.two)


def test_a_recording_ends_where_it_began() -> None:
    desk = Desk(RecordingCuda())
    desk.cuda.begin_capture(desk.one)
    desk.fork()
    for stream in (desk.two, 0):
        with pytest.raises(EngineError, match="UNMATCHED"):
            desk.cuda.end_capture(stream)
    with pytest.raises(EngineError, match="already"):
        desk.cuda.begin_capture(desk.one)
    with pytest.raises(EngineError, match="recording"):
        desk.cuda.destroy_stream(desk.two)


def test_events_of_a_recording_mean_nothing_outside() -> None:
    desk = Desk(RecordingCuda())
    desk.cuda.begin_capture(desk.one)
    desk.cuda.record(desk.event, desk.one)
    desk.cuda.destroy_graph(desk.cuda.end_capture(desk.one))
    with pytest.raises(EngineError, match="ISOLATION"):
        desk.cuda.wait(desk.two, desk.event)


def test_the_default_stream_cannot_record() -> None:
    desk = Desk(RecordingCuda())
    with pytest.raises(EngineError, match="default"):
        desk.cuda.begin_capture(0)


def test_waiting_for_what_was_never_recorded_is_a_mistake() -> None:
    desk = Desk(RecordingCuda())
    with pytest.raises(EngineError, match="never recorded"):
        desk.cuda.wait(desk.one, desk.event)


# Failures on demand


def test_the_nth_allocation_and_all_after_it_are_refused() -> None:
    cuda = RecordingCuda()
    cuda.fail_after = 2
    cuda.allocate(1)
    cuda.create_stream()
    for _ in range(2):
        with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
            cuda.allocate_pinned(1)


def test_nothing_works_without_a_context_but_giving_back_does() -> None:
    desk = Desk(RecordingCuda())
    desk.send(desk.one)
    desk.cuda.destroy_context()
    for call in (
        lambda: desk.send(desk.one),
        lambda: desk.cuda.synchronize(desk.one),
        lambda: desk.cuda.allocate(1),
        lambda: desk.cuda.properties(),
    ):
        with pytest.raises(EngineError, match="CONTEXT_IS_DESTROYED"):
            call()
    desk.close()
    assert desk.cuda.leaks() == []


def test_work_that_fails_is_known_when_somebody_waits_and_ends_the_context() -> None:
    desk = Desk(RecordingCuda(eagerness=0.0))

    def fail() -> None:
        raise ArithmeticError("a kernel failed")

    desk.cuda.put(desk.two, fail)
    desk.cuda.synchronize(desk.one)
    with pytest.raises(EngineError, match="a kernel failed"):
        desk.cuda.synchronize(desk.two)
    with pytest.raises(EngineError, match="LAUNCH_FAILED"):
        desk.cuda.synchronize(desk.one)


def test_fresh_memory_holds_rubbish() -> None:
    desk = Desk(RecordingCuda())
    assert np.count_nonzero(desk.host) == desk.host.size
