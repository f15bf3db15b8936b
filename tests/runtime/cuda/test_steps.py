"""Node after node on the device: right tensors at every step, and nothing under way between."""

import gc
from collections.abc import Generator
from contextlib import closing

import numpy as np
import pytest
from tests.runtime.cuda.fake import SEEDS, RecordingCuda
from tests.runtime.cuda.rig import CKDNET, GRAPHS, Rig, images, no_lap

from ckd.contract.errors import EngineError
from ckd.runtime.cuda.runner import CudaRunner

NODES = list(CKDNET)


def all_is_released(rig: Rig, runner: CudaRunner) -> bool:
    runner.close()
    rig.close()
    return rig.cuda.leaks() == []


# Tensors


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_each_step_finds_the_outputs_of_its_node_finished(seed: int, graph: str) -> None:
    rig = Rig(RecordingCuda(seed), GRAPHS[graph])
    runner = rig.runner()
    for image in images(3):
        names = []
        for name in runner.steps(image):
            assert rig.cuda.num_under_way == 0
            rig.check_node(name, image)
            names.append(name)
        assert names == list(GRAPHS[graph])
    assert rig.cuda.num_launches == 0
    assert all_is_released(rig, runner)


@pytest.mark.parametrize("seed", SEEDS)
def test_engines_that_are_tied_to_a_stream_are_stepped_on_that_one(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner(one_stream=rig.cuda.create_stream())
    for image in images(2):
        for name in runner.steps(image):
            rig.check_node(name, image)
        rig.check(runner.run(image, no_lap), image)
    assert rig.cuda.num_launches == 0


def test_without_its_waits_steps_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the tests above would notice."""
    wrong = 0
    (image,) = images(1)
    for seed in SEEDS:
        rig = Rig(RecordingCuda(seed))
        monkeypatch.setattr(rig.cuda, "synchronize", lambda stream: None)
        list(rig.runner().steps(image))
        monkeypatch.undo()
        rig.cuda.synchronize(0)  # of no stream of the engines
        try:
            rig.check_node("seg_decoder", image)
        except (AssertionError, EngineError):
            wrong += 1
    assert wrong > len(SEEDS) // 4


# Stopping early


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", NODES)
def test_stopping_early_leaves_nothing_under_way(seed: int, node: str) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(2)
    steps = runner.steps(one)
    assert isinstance(steps, Generator)
    with closing(steps):
        assert next(step for step in steps if step == node) == node
    assert rig.cuda.num_under_way == 0
    rig.check_node(node, one)
    later = NODES[NODES.index(node) + 1 :]
    assert [rig.engines[name].num_enqueued for name in later] == [0] * len(later)
    for image in (two, one):
        rig.check(runner.run(image, no_lap), image)
    assert all_is_released(rig, runner)


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_that_are_forgotten_half_way_are_over(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(2)
    steps = runner.steps(one)
    next(steps)
    rig.check(runner.run(two, no_lap), two)
    del steps
    gc.collect()
    assert rig.cuda.num_under_way == 0
    rig.check(runner.run(one, no_lap), one)
    assert all_is_released(rig, runner)


def test_steps_that_are_never_taken_do_nothing() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    runner.steps(images(1)[0])
    assert not rig.cuda.copies
    assert rig.engines["rootseg"].num_enqueued == 0
    assert all_is_released(rig, runner)


@pytest.mark.parametrize("node", NODES)
def test_a_runner_that_is_closed_between_steps_ends_them(node: str) -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    steps = runner.steps(images(1)[0])
    assert next(step for step in steps if step == node) == node
    runner.close()
    if node == NODES[-1]:
        assert list(steps) == []
    else:
        with pytest.raises(EngineError, match="has been closed; load it again"):
            next(steps)
    assert all_is_released(rig, runner)


def test_a_closed_runner_takes_no_step() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    runner.close()
    with pytest.raises(EngineError, match="has been closed; load it again"):
        next(runner.steps(images(1)[0]))
    assert all_is_released(rig, runner)


# Failures


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", NODES)
def test_an_engine_that_refuses_ends_the_steps_and_the_next_image_is_right(
    seed: int, node: str
) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(2)
    rig.engines[node].refuses_from = 0
    with pytest.raises(EngineError, match="refuses"):
        list(runner.steps(one))
    assert rig.cuda.num_under_way == 0
    rig.engines[node].refuses_from = None
    for name in runner.steps(two):
        rig.check_node(name, two)
    rig.check(runner.run(one, no_lap), one)
    assert all_is_released(rig, runner)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", NODES)
def test_an_engine_that_fails_on_the_device_raises_at_its_step(seed: int, node: str) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    rig.engines[node].fails_from = 0
    steps = runner.steps(images(1)[0])
    for earlier in NODES[: NODES.index(node)]:
        assert next(steps) == earlier
    with pytest.raises(EngineError, match="failed on the device"):
        next(steps)
    assert rig.cuda.num_under_way == 0
    assert all_is_released(rig, runner)


@pytest.mark.parametrize("count", range(1, len(NODES) + 2))
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, EngineError])
def test_an_interrupted_wait_leaves_nothing_under_way(
    interrupt: type[BaseException], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(RecordingCuda(eagerness=0.0))
    runner = rig.runner()
    one, two = images(2)
    waits, synchronize = 0, rig.cuda.synchronize

    def interrupted(stream: int) -> None:
        nonlocal waits
        waits += 1
        if waits == count + 1:  # the first is before the image is staged
            raise interrupt("stop")
        synchronize(stream)

    with monkeypatch.context() as patch:
        patch.setattr(rig.cuda, "synchronize", interrupted)
        with pytest.raises(interrupt):
            list(runner.steps(one))
    assert rig.cuda.num_under_way == 0
    rig.check(runner.run(two, no_lap), two)
    assert all_is_released(rig, runner)


def test_an_image_of_another_shape_is_refused() -> None:
    rig = Rig(RecordingCuda())
    with pytest.raises(EngineError, match=r"image: expected uint8\[1, 4, 4, 3\]"):
        next(rig.runner().steps(images(1)[0][0]))
    assert not rig.cuda.copies


# Graphs


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_may_come_between_frames_that_are_replayed(seed: int) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    for image in images(4):
        rig.check(runner.run(image, no_lap), image)
        negative = np.uint8(255) - image
        for name in runner.steps(negative):
            rig.check_node(name, negative)
    assert runner.is_captured
    assert rig.cuda.num_launches == 3
    assert all_is_released(rig, runner)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("node", NODES)
def test_a_frame_is_captured_once_the_steps_have_run_every_engine(seed: int, node: str) -> None:
    rig = Rig(RecordingCuda(seed))
    runner = rig.runner()
    one, two = images(2)
    steps = runner.steps(one)
    assert next(step for step in steps if step == node) == node
    rig.check(runner.run(two, no_lap), two)
    assert runner.is_captured == (node == NODES[-1])
    rig.check(runner.run(one, no_lap), one)
    assert runner.is_captured


def test_warm_steps_allocate_nothing() -> None:
    rig = Rig(RecordingCuda())
    runner = rig.runner()
    list(runner.steps(images(1)[0]))
    warm = rig.cuda.num_allocations
    for image in images(3):
        list(runner.steps(image))
    assert rig.cuda.num_allocations == warm
