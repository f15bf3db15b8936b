"""Overlapped frames: the answers of frames one by one, in order, and nothing left behind."""

import gc
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.cuda.fake import SEEDS, RecordingCuda
from tests.runtime.cuda.fake_engine import Tensors
from tests.runtime.cuda.rig import CHAIN, CKDNET, GRAPHS, Rig, images, no_lap

from ckd.contract.errors import EngineError, InputError
from ckd.runtime.cuda.runner import CudaRunner
from ckd.runtime.engine import Outputs

COUNT = 7


def end_of(rig: Rig, runner: CudaRunner) -> list[str]:
    """What is left when all is closed."""
    runner.close()
    rig.close()
    return rig.cuda.leaks()


def kept(answers: Outputs) -> dict[str, NDArray[np.float32]]:
    return {name: values.copy() for name, values in answers.items()}


class Checked:
    """Answers that were given and right before a stream ended."""

    def __init__(self, rig: Rig, answers: Iterator[Outputs]) -> None:
        self.count = 0
        self._rig, self._answers = rig, answers

    def exhaust(self) -> None:
        for image, tensors in zip(images(COUNT), self._answers, strict=False):
            self._rig.check(tensors, image)
            self.count += 1


# Answers


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_those_of_frames_one_by_one(seed: int, graph: str) -> None:
    rig = Rig(RecordingCuda(seed), GRAPHS[graph])
    runner = rig.runner()
    count = 0
    for image, answers in zip(images(COUNT), runner.stream(images(COUNT)), strict=True):
        rig.check(answers, image)
        count += 1
    assert count == COUNT
    assert rig.cuda.num_launches == COUNT - 1  # all but the first
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_stay_until_the_next_are_asked_for(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    for image, answers in zip(images(COUNT), rig.runner().stream(images(COUNT)), strict=True):
        rig.cuda.leaks()  # runs everything that is under way
        rig.check(answers, image)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_right_without_a_graph(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    rig.engines["seg_encoder"].synchronizes = True
    runner = rig.runner()
    for image, answers in zip(images(COUNT), runner.stream(images(COUNT)), strict=True):
        rig.check(answers, image)
    assert rig.cuda.num_launches == 0
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_right_on_one_stream(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner(one_stream=rig.cuda.create_stream())
    for image, answers in zip(images(COUNT), runner.stream(images(COUNT)), strict=True):
        rig.check(answers, image)
    assert end_of(rig, runner) == ["a stream"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_streams_end(count: int) -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    answered = [kept(answers) for answers in runner.stream(images(count))]
    assert len(answered) == count
    for image, answers in zip(images(count), answered, strict=True):
        rig.check(answers, image)
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_single_frames_may_come_between(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    for image, answers in zip(images(COUNT), runner.stream(images(COUNT)), strict=True):
        other = 255 - image
        rig.check(runner.run(other, no_lap), other)
        rig.check(answers, image)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_streams_of_frames_do_not_mix(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(COUNT), [255 - image for image in images(COUNT)]
    both = zip(one, two, runner.stream(one), runner.stream(two), strict=True)
    for first, second, answers, others in both:
        rig.check(answers, first)
        rig.check(others, second)


@pytest.mark.parametrize("missing", ["arrival", "computed"])
def test_without_its_events_answers_are_wrong(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeds above are enough to see it."""
    wrong = 0
    for seed in SEEDS:
        rig = Rig(RecordingCuda(seed), CHAIN)  # whose networks need no events
        runner = rig.runner()
        monkeypatch.setattr(rig.cuda, "wait", _forgetful(rig.cuda, missing))
        try:
            for image, answers in zip(images(COUNT), runner.stream(images(COUNT)), strict=True):
                rig.check(answers, image)
        except AssertionError:
            wrong += 1
    assert wrong > len(SEEDS) // 4


def _forgetful(cuda: RecordingCuda, missing: str) -> Callable[[int, int], None]:
    """Waits of the computation alone, or of the copies alone; a runner has just been made."""
    (computes,), wait = cuda.streams, cuda.wait  # slots make their streams for copies later

    def some(stream: int, event: int) -> None:
        if (stream == computes) != (missing == "arrival"):
            wait(stream, event)

    return some


# Overlap


def test_copies_run_beside_the_computation_of_other_frames() -> None:
    copied_in_early = copied_out_late = 0
    for seed in SEEDS:
        rig = Rig(RecordingCuda(seed))
        runner = rig.runner()
        done = _copies_at_the_start_of_frames(rig)
        for _ in runner.stream(images(COUNT)):
            pass
        copied_in_early += sum(copied_in > frame + 1 for frame, (copied_in, _) in enumerate(done))
        copied_out_late += sum(copied_out < frame for frame, (_, copied_out) in enumerate(done))
    assert copied_in_early > 0
    assert copied_out_late > 0


def _copies_at_the_start_of_frames(rig: Rig) -> list[tuple[int, int]]:
    """Copies in and copies out that are done when each frame's first network starts."""
    engine, done = rig.engines["rootseg"], list[tuple[int, int]]()
    compute = engine.function

    def watched(tensors: Tensors) -> Tensors:
        done.append((rig.cuda.copies["host to device"], rig.cuda.copies["device to host"]))
        return compute(tensors)

    engine.function = watched
    return done


def test_the_next_frame_is_under_way_when_an_answer_is_given() -> None:
    rig = Rig(RecordingCuda())
    taken: list[int] = []

    def source() -> Iterator[NDArray[np.uint8]]:
        for number, image in enumerate(images(4)):
            taken.append(number)
            yield image

    answers = rig.runner().stream(source())
    assert taken == []
    seen = [(next(answers), len(taken))[1] for _ in range(4)]
    assert seen == [2, 3, 4, 4]


def test_a_frame_crosses_the_bus_once_each_way_and_allocates_nothing() -> None:
    rig = Rig(RecordingCuda())
    warm, started = 0, rig.cuda.num_allocations
    for number, _ in enumerate(rig.runner().stream(images(COUNT))):
        if number == 0:
            warm = rig.cuda.num_allocations
    assert started < warm == rig.cuda.num_allocations
    assert rig.cuda.copies == {
        "host to device": COUNT,
        "device to device": COUNT * 3,  # the image and two answers
        "device to host": COUNT,
    }


# Ends


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_consumer_that_stops_early_leaves_nothing(count: int, seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    answers = runner.stream(images(COUNT))
    for image, tensors in zip(images(count), islice(answers, count), strict=True):
        rig.check(tensors, image)
    held = len(rig.cuda.leaks()) if seed % 2 else 0  # half of them with work still under way
    answers.close()  # type: ignore[attr-defined]
    if seed % 2 and count:
        assert len(rig.cuda.leaks()) < held
    image = images(1)[0]
    rig.check(runner.run(image, no_lap), image)
    assert end_of(rig, runner) == []


def test_a_consumer_that_forgets_the_rest_leaves_nothing() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    runner.run(images(1)[0], no_lap)
    before = rig.cuda.leaks()
    answers = runner.stream(images(COUNT))
    next(answers)
    assert len(rig.cuda.leaks()) > len(before)
    del answers
    gc.collect()
    assert rig.cuda.leaks() == before
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", CKDNET)
@pytest.mark.parametrize(("frame", "graphs"), [(0, True), (1, True), (4, False)])
def test_a_refused_frame_comes_after_the_answers_before_it(
    frame: int, graphs: bool, node: str, seed: int
) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    rig.engines["rootseg"].synchronizes = not graphs  # a graph would not ask the engines again
    good = images(COUNT)

    def source() -> Iterator[NDArray[np.uint8]]:
        for number, image in enumerate(good):
            if number == frame:
                rig.engines[node].refuses_from = 0
            yield image

    answered = Checked(rig, runner.stream(source()))
    with pytest.raises(EngineError, match="refuses"):
        answered.exhaust()
    assert answered.count == frame
    rig.engines[node].refuses_from = None
    rig.check(runner.run(good[3], no_lap), good[3])
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_frame_that_fails_on_the_device_raises_and_all_is_released(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    rig.engines["cls"].fails_from = 4
    runner = rig.runner()
    answered = Checked(rig, runner.stream(images(COUNT)))
    with pytest.raises(EngineError, match="failed on the device"):
        answered.exhaust()
    assert answered.count in (
        3,
        4,
    )  # the context ends with the fifth frame, and may take the fourth along
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("frame", [0, 1, 4])
def test_a_source_that_fails_does_so_after_the_answers_before(frame: int, seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()

    def source() -> Iterator[NDArray[np.uint8]]:
        yield from images(frame)
        raise InputError("the lens fell off")

    answered = Checked(rig, runner.stream(source()))
    with pytest.raises(InputError, match="the lens fell off"):
        answered.exhaust()
    assert answered.count == frame
    assert end_of(rig, runner) == []


def test_an_image_of_another_shape_is_refused_in_its_turn() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    good = images(2)
    answers = runner.stream([good[0], good[1][0]])
    rig.check(next(answers), good[0])
    with pytest.raises(EngineError, match=r"image: expected uint8\[1, 4, 4, 3\]"):
        next(answers)
    assert end_of(rig, runner) == []


def test_memory_that_ends_half_way_leaves_nothing() -> None:
    def start(fail_after: int) -> tuple[Rig, CudaRunner]:
        rig = Rig(RecordingCuda())
        runner = rig.runner()
        runner.run(images(1)[0], no_lap)
        rig.cuda.fail_after = fail_after
        return rig, runner

    rig, runner = start(1000)
    next(runner.stream(images(2)))
    assert rig.cuda.fail_after is not None
    needed = 1000 - rig.cuda.fail_after - 2  # the slots' graphs can be done without
    assert needed > 10
    for number in range(needed):
        rig, runner = start(number)
        before = rig.cuda.leaks()
        with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
            next(runner.stream(images(2)))
        assert rig.cuda.leaks() == before, number
        image = images(1)[0]
        rig.check(runner.run(image, no_lap), image)
        assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_context_that_the_application_destroyed_ends_the_stream(count: int, seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    answers = runner.stream(images(COUNT))
    for _ in range(count):
        next(answers)
    rig.cuda.destroy_context()
    with pytest.raises(EngineError, match="CONTEXT_IS_DESTROYED"):
        next(answers)
    assert next(answers, None) is None
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_of_a_closed_cascade_says_so(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    good = images(COUNT)
    answers = runner.stream(good)
    rig.check(next(answers), good[0])
    runner.close()
    rig.check(next(answers), good[1])  # which was under way
    with pytest.raises(EngineError, match="has been closed"):
        next(answers)
    assert end_of(rig, runner) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cascade_may_be_closed_before_a_stream_of_it(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    answers = runner.stream(images(COUNT))
    next(answers)
    runner.close()
    rig.close()
    del answers
    gc.collect()
    assert rig.cuda.leaks() == []
