"""Frames on the device: right answers in any order of work, two copies, and nothing left behind."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.runtime.cuda.fake import SEEDS, RecordingCuda
from tests.runtime.cuda.rig import GRAPHS, SIDE, Rig, images, no_lap, on_device

from ckd.contract.errors import EngineError, InputError
from ckd.contract.wiring import IMAGE
from ckd.runtime.cuda.arrays import DeviceImage

NUM_BYTES = SIDE * SIDE * 3


# Answers


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_right_in_whatever_order_work_is_done(seed: int, graph: str) -> None:
    rig = Rig(RecordingCuda(seed), GRAPHS[graph])
    runner = rig.runner()
    for image in images(5):
        rig.check(runner.run(image, no_lap), image)
    assert rig.cuda.num_launches == 4  # all but the first
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_right_when_engines_are_started_one_by_one(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    rig.engines["cls"].synchronizes = True
    runner = rig.runner()
    for image in images(4):
        rig.check(runner.run(image, no_lap), image)
    assert rig.cuda.num_launches == 0
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


def test_without_its_events_answers_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds above are enough to see it."""
    wrong = 0
    for seed in SEEDS:
        rig = Rig(RecordingCuda(seed))
        monkeypatch.setattr(rig.cuda, "wait", lambda stream, event: None)
        runner = rig.runner()
        try:
            rig.check(runner.run(images(1)[0], no_lap), images(1)[0])
        except AssertionError:
            wrong += 1
    assert wrong > len(SEEDS) // 4


@pytest.mark.parametrize("seed", SEEDS)
def test_images_on_the_device_give_the_same_answers_there(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    theirs = rig.cuda.create_stream()
    for image in images(4):
        source = on_device(rig.cuda, image, theirs)
        before = rig.cuda.copies.copy()
        answers = runner.run_device(source)
        crossed = rig.cuda.copies - before
        assert crossed["host to device"] <= 1  # that of `on_device`
        assert crossed["device to host"] == 0
        assert answers == {name: rig.buffers[name] for name in ("mask", "coarse")}
        rig.check({name: buffer.read() for name, buffer in answers.items()}, image)
    assert rig.cuda.num_launches == 3
    runner.close()
    rig.close()
    assert set(rig.cuda.leaks()) == {
        "48 bytes of device memory",  # the images
        "48 bytes of host memory",
        "a stream",
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_images_of_host_and_device_may_be_mixed(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    for number, image in enumerate(images(6)):
        if number % 2:
            answers = runner.run_device(on_device(rig.cuda, image, 0))
            rig.check({name: buffer.read() for name, buffer in answers.items()}, image)
        else:
            rig.check(runner.run(image, no_lap), image)
    assert rig.cuda.num_launches == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_engines_that_are_tied_to_a_stream_all_get_that_one(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    stream = rig.cuda.create_stream()
    runner = rig.runner(one_stream=stream)
    for image in images(3):
        rig.check(runner.run(image, no_lap), image)
    assert rig.cuda.num_launches == 0
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == ["a stream"]  # which is the caller's


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_image_on_the_device_is_resized_there(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By cutting it off; the real kernel has tests of its own."""
    events: list[str] = []

    class Cutter:
        def __init__(self, cuda: RecordingCuda, side_px: int) -> None:
            assert side_px == SIDE
            events.append("made")
            self._cuda = cuda

        def __call__(self, source: int, height: int, width: int, to: int, stream: int) -> None:
            assert (height, width) == (SIDE + 2, SIDE)
            self._cuda.copy(to, source, NUM_BYTES, stream)

        def close(self) -> None:
            events.append("closed")

    monkeypatch.setattr("ckd.runtime.cuda.resize.Resizer", Cutter)
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    for image in images(3):
        answers = runner.run_device(on_device(rig.cuda, image, 0))  # which needs no resizing
        rig.check({name: buffer.read() for name, buffer in answers.items()}, image)
        taller = np.pad(255 - image[0], ((0, 2), (0, 0), (0, 0)))
        source = on_device(rig.cuda, taller, 0)
        answers = runner.run_device(dataclasses.replace(source, height=SIDE + 2))
        rig.check({name: buffer.read() for name, buffer in answers.items()}, 255 - image)
    assert events == ["made"]
    runner.close()
    runner.close()
    assert events == ["made", "closed"]


@pytest.mark.parametrize("seed", SEEDS)
def test_arrays_of_other_libraries_are_taken(seed: int) -> None:
    class Array:
        def __init__(self, address: int, stream: int) -> None:
            self.__cuda_array_interface__ = {
                "shape": (SIDE, SIDE, 3),
                "typestr": "|u1",
                "data": (address, False),
                "stream": stream,
                "version": 3,
            }

    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    theirs = rig.cuda.create_stream()
    for image in images(3):
        answers = runner.run_device(Array(on_device(rig.cuda, image, theirs).address, theirs))
        rig.check({name: buffer.read() for name, buffer in answers.items()}, image)


# Cost


def test_a_frame_crosses_the_bus_once_each_way_and_allocates_nothing() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    runner.run(images(1)[0], no_lap)
    runner.run(images(1)[0], no_lap)
    warm = rig.cuda.num_allocations
    for image in images(5):
        before, bytes_before = rig.cuda.copies.copy(), rig.cuda.copied_bytes.copy()
        launches, waits = rig.cuda.num_launches, rig.cuda.num_synchronizations
        runner.run(image, no_lap)
        assert rig.cuda.copies - before == {
            "host to device": 1,
            "device to device": 2,  # the answers, side by side
            "device to host": 1,
        }
        crossed = rig.cuda.copied_bytes - bytes_before
        assert crossed["host to device"] == NUM_BYTES
        assert crossed["device to host"] == 256 + 4 * SIDE * SIDE  # each starts at 256 bytes
        assert rig.cuda.num_launches - launches == 1
        assert rig.cuda.num_synchronizations - waits == 2  # before it is staged, and at the end
    assert rig.cuda.num_allocations == warm


def test_the_first_frame_costs_no_more_copies_than_others() -> None:
    rig = Rig(RecordingCuda())
    rig.runner().run(images(1)[0], no_lap)
    assert rig.cuda.copies["host to device"] == rig.cuda.copies["device to host"] == 1


def test_every_step_is_told_when_it_is_over() -> None:
    rig = Rig(RecordingCuda(eagerness=0.0))
    runner = rig.runner()
    laps: list[tuple[str, int]] = []
    runner.run(images(1)[0], lambda step: laps.append((step, rig.engines["seg_decoder"].num_run)))
    assert laps == [("preprocess", 0), ("networks", 1)]


def test_answers_are_views_of_one_block_that_the_next_run_overwrites() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    one, two = images(2)
    first = runner.run(one, no_lap)
    rig.check(first, one)
    runner.run(two, no_lap)
    rig.check(first, two)


# What is refused


def test_an_image_of_another_shape_or_type_is_refused() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    wrong: Any
    for wrong in (images(1)[0][0], images(1)[0].astype(np.float32)):
        with pytest.raises(EngineError, match=r"image: expected uint8\[1, 4, 4, 3\]"):
            runner.run(wrong, no_lap)
    assert not rig.cuda.copies


def test_a_device_image_on_another_device_is_refused() -> None:
    rig = Rig(RecordingCuda())
    image = DeviceImage(rig.buffers[IMAGE].address, SIDE, SIDE, None, device_index=1)
    with pytest.raises(InputError, match="on cuda:1, the engines are on cuda:0; copy"):
        rig.runner().run_device(image)
    assert not rig.cuda.copies


def test_where_an_array_does_not_say_its_device_cuda_is_asked() -> None:
    rig = Rig(RecordingCuda())
    image = DeviceImage(rig.buffers[IMAGE].address, SIDE, SIDE, None)
    rig.cuda.elsewhere[image.address] = 1
    with pytest.raises(InputError, match="on cuda:1, the engines are on cuda:0; copy"):
        rig.runner().run_device(image)
    assert not rig.cuda.copies


@pytest.mark.parametrize("image", [None, np.zeros((SIDE, SIDE, 3), np.uint8)])
def test_what_is_no_device_array_is_refused(image: object) -> None:
    rig = Rig(RecordingCuda())
    with pytest.raises(InputError, match="CUDA device"):
        rig.runner().run_device(image)


def test_device_memory_that_is_gone_is_refused_and_the_next_image_is_not() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    gone = on_device(rig.cuda, images(1)[0], 0)
    rig.cuda.synchronize(0)
    rig.cuda.free(gone.address)
    with pytest.raises(EngineError, match="released"):
        runner.run_device(gone)
    rig.check(runner.run(images(1)[0], no_lap), images(1)[0])
