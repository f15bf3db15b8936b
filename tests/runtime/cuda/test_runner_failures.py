"""Frames on the device that fail or are interrupted: one error, nothing under way, all released."""

import logging
from collections.abc import Callable

import pytest
from tests.runtime.cuda.fake import SEEDS, RecordingCuda
from tests.runtime.cuda.rig import CKDNET, SIDE, Rig, images, no_lap, on_device

from ckd.contract.errors import EngineError
from ckd.contract.wiring import IMAGE
from ckd.runtime.cuda.arrays import DeviceImage


def test_an_engine_that_cannot_be_captured_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(RecordingCuda())
    rig.engines["seg_encoder"].synchronizes = True
    runner = rig.runner()
    with caplog.at_level(logging.WARNING):
        for image in images(3):
            rig.check(runner.run(image, no_lap), image)
            runner.run_device(on_device(rig.cuda, image, 0))
    (record,) = caplog.records
    assert "cannot be captured into a CUDA graph" in record.message
    assert "STREAM_CAPTURE" in record.message


def test_engines_that_can_be_captured_are_not_worth_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    for image in images(3):
        runner.run(image, no_lap)
    assert not caplog.records


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", CKDNET)
def test_a_frame_that_is_refused_half_way_leaves_nothing_under_way(seed: int, node: str) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(2)
    rig.engines[node].refuses_from = 0
    with pytest.raises(EngineError, match="refuses"):
        runner.run(one, no_lap)
    rig.engines[node].refuses_from = None
    for image in (two, one, two):
        rig.check(runner.run(image, no_lap), image)
    assert rig.cuda.num_launches == 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", CKDNET)
def test_a_frame_that_is_refused_half_way_is_over_when_all_is_released(
    seed: int, node: str
) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    rig.engines[node].refuses_from = 0
    with pytest.raises(EngineError, match="refuses"):
        runner.run(images(1)[0], no_lap)
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_device_image_that_was_refused_is_read_no_more(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    source = on_device(rig.cuda, images(1)[0], 0)
    rig.engines["cls"].refuses_from = 0
    with pytest.raises(EngineError, match="refuses"):
        runner.run_device(source)
    rig.cuda.free(source.address)
    assert not any("under way" in leak for leak in rig.cuda.leaks())


@pytest.mark.parametrize("seed", SEEDS)
def test_an_engine_that_fails_while_it_is_captured_fails_again_when_it_runs(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(2)
    rig.check(runner.run(one, no_lap), one)
    rig.engines["seg_decoder"].refuses_from = 1
    with pytest.raises(EngineError, match="refuses"):
        runner.run(two, no_lap)
    rig.engines["seg_decoder"].refuses_from = None
    rig.check(runner.run(two, no_lap), two)
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


@pytest.mark.parametrize("run", [0, 1, 2])
def test_an_engine_that_fails_on_the_device_raises_and_all_is_released(run: int) -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    rig.engines["cls"].fails_from = run
    for image in images(run):
        rig.check(runner.run(image, no_lap), image)
    with pytest.raises(EngineError, match="failed on the device"):
        runner.run(images(1)[0], no_lap)
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_a_context_that_the_application_destroyed_is_one_error(frames: int) -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    for image in images(frames):
        runner.run(image, no_lap)
    rig.cuda.destroy_context()
    laps: list[str] = []
    with pytest.raises(EngineError, match="CONTEXT_IS_DESTROYED"):
        runner.run(images(1)[0], laps.append)
    assert laps == []  # its page-locked memory was not touched: that is gone too
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


# Release


def resources_of_a_runner() -> int:
    cuda = RecordingCuda()
    rig = Rig(cuda)
    cuda.fail_after = most = 1000
    rig.runner()
    return most - cuda.fail_after


def test_a_runner_that_cannot_be_made_leaves_nothing_behind() -> None:
    count = resources_of_a_runner()
    assert count > 5
    for number in range(count):
        rig = Rig(RecordingCuda())
        rig.cuda.fail_after = number
        with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
            rig.runner()
        rig.close()
        assert rig.cuda.leaks() == [], number


def test_a_graph_that_does_not_fit_is_done_without() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    one, two = images(2)
    runner.run(one, no_lap)
    rig.cuda.fail_after = 0
    rig.check(runner.run(two, no_lap), two)
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


def test_an_interrupted_recording_is_ended() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    one, two = images(2)
    runner.run(one, no_lap)
    enqueue, engine = rig.engines["cls"].enqueue, rig.engines["cls"]

    def interrupted(stream: int = 0) -> None:
        enqueue(stream)
        engine.enqueue = enqueue  # type: ignore[method-assign]
        raise KeyboardInterrupt

    engine.enqueue = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        runner.run(two, no_lap)
    rig.check(runner.run(two, no_lap), two)
    assert rig.cuda.num_launches == 1  # recorded again
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, EngineError])
def test_an_interrupted_frame_is_waited_for_before_anything_is_released(
    interrupt: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(RecordingCuda(eagerness=0.0))
    runner = rig.runner()
    one, two = images(2)
    runner.run(one, no_lap)
    with monkeypatch.context() as patch:
        patch.setattr(rig.cuda, "synchronize", _interrupted_after(1, interrupt, rig))
        with pytest.raises(interrupt):
            runner.run(one, no_lap)
    rig.check(runner.run(two, no_lap), two)
    runner.close()
    rig.close()
    assert rig.cuda.leaks() == []


def _interrupted_after(
    count: int, interrupt: type[BaseException], rig: Rig
) -> Callable[[int], None]:
    calls = 0
    original = rig.cuda.synchronize

    def synchronize(stream: int) -> None:
        nonlocal calls
        calls += 1
        if calls == count + 1:
            raise interrupt("stop")
        original(stream)

    return synchronize


def test_closing_twice_is_fine_and_a_closed_runner_says_so() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    image = images(1)[0]
    runner.run(image, no_lap)
    runner.close()
    runner.close()
    with pytest.raises(EngineError, match="has been closed; load it again"):
        runner.run(image, no_lap)
    with pytest.raises(EngineError, match="has been closed"):
        runner.run_device(DeviceImage(rig.buffers[IMAGE].address, SIDE, SIDE, None))
    rig.close()
    assert rig.cuda.leaks() == []
