"""A deadline, by engines whose time is scripted: coarse mask first, then diagnosis, then fine mask.

Suffixes: H rows, W columns.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeCudaBackend
from tests.runtime.journal.rig import Still, edit_line, replayed, rewrite
from tests.runtime.photographs import NODES, assert_equal, edit_spec, photo, session_function

from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason
from ckd.runtime import Cascade
from ckd.runtime.deadline import parts_of
from ckd.runtime.engine import Engine
from ckd.runtime.journal import Journal, open_run
from ckd.runtime.sources import Frame

pytestmark = pytest.mark.usefixtures("only_onnxruntime")


class Clock:
    """A clock that only engines move, by milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def perf_counter(self) -> float:
        return self.now_ms / 1e3


class Slow:
    """An engine that takes as long as it is told."""

    def __init__(self, engine: Engine, clock: Clock, taken_ms: float) -> None:
        self._engine, self._clock = engine, clock
        self.taken_ms, self.runs = taken_ms, 0
        self.inputs, self.outputs = engine.inputs, engine.outputs

    def enqueue(self, stream: int = 0) -> None:
        self.runs += 1
        self._clock.now_ms += self.taken_ms
        self._engine.enqueue(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ckd.runtime.stopwatch.time", clock)
    return clock


@pytest.fixture
def slow(cascade: Cascade, clock: Clock) -> dict[str, Slow]:
    """Each network of the cascade takes ten milliseconds."""
    return slowed(cascade, clock)


def slowed(cascade: Cascade, clock: Clock, taken_ms: float = 10.0) -> dict[str, Slow]:
    engines = {
        name: Slow(engine, clock, taken_ms) for name, engine in cascade.chain.engines.items()
    }
    cascade.chain.engines.update(engines)
    return engines


def answered(cascade: Cascade, deadline_ms: float, times: int = 1, seed: int = 0) -> Finding:
    for _ in range(times):
        finding = cascade.predict(photo(seed), deadline_ms=deadline_ms)
    return finding


# The order


def test_with_enough_time_nothing_is_left_out(cascade: Cascade, slow: dict[str, Slow]) -> None:
    whole, finding = cascade.predict(photo(0)), answered(cascade, 41, times=3)
    assert_equal(finding, whole)
    assert (finding.left_out, finding.late_ms, finding.mask_from) == ((), 0.0, "fine")
    assert (whole.left_out, whole.late_ms) == ((), None)


def test_the_fine_mask_goes_first(cascade: Cascade, slow: dict[str, Slow]) -> None:
    whole = cascade.predict(photo(0))
    answered(cascade, 25)  # nothing is known of the networks yet, so all are tried
    before = {name: engine.runs for name, engine in slow.items()}
    finding = answered(cascade, 25)
    assert finding.left_out == ("fine_mask",)
    assert {name: engine.runs - before[name] for name, engine in slow.items()} == {
        "rootseg": 1, "cls": 1, "seg_encoder": 0, "seg_decoder": 0,
    }  # fmt: skip
    assert finding.late_ms == 0.0
    assert finding.probabilities == whole.probabilities
    assert (finding.mask_HW, finding.mask_from) == (None, "coarse")
    np.testing.assert_array_equal(finding.coarse_mask_HW, whole.coarse_mask_HW)
    assert "No time for the fine outline" in finding.beneath[-1]
    assert list(finding.timings_ms) == ["preprocess", *NODES[:2], "postprocess", "total"]


def test_then_the_diagnosis(cascade: Cascade, slow: dict[str, Slow]) -> None:
    finding = answered(cascade, 15, times=2)
    assert finding.left_out == ("diagnosis", "fine_mask")
    assert (finding.late_ms, finding.mask_from) == (0.0, "coarse")
    assert (finding.probabilities, finding.decision, finding.prevalence) == ({}, None, None)
    assert finding.headline == "No time for an answer"
    assert (finding.outcome, finding.top, finding.second) == ("answer", None, "")


def test_the_coarse_mask_is_always_there_and_late_if_it_must(
    cascade: Cascade, slow: dict[str, Slow]
) -> None:
    finding = answered(cascade, 4, times=2)
    assert finding.left_out == ("diagnosis", "fine_mask")
    assert finding.late_ms == pytest.approx(6)
    assert finding.beneath[-1] == "6 ms late."
    assert json.loads(finding.to_json())["late_ms"] == pytest.approx(6)


def test_an_answer_that_was_expected_in_time_and_is_not_says_so(
    cascade: Cascade, slow: dict[str, Slow]
) -> None:
    answered(cascade, 41, times=3)
    slow["seg_decoder"].taken_ms = 100
    finding = answered(cascade, 41)
    assert not finding.left_out
    assert finding.late_ms == pytest.approx(89)
    assert "89 ms late." in finding.beneath


def test_what_was_left_out_is_tried_again(cascade: Cascade, slow: dict[str, Slow]) -> None:
    answered(cascade, 25, times=2)
    slow["seg_encoder"].taken_ms = slow["seg_decoder"].taken_ms = 1
    left_out = [bool(answered(cascade, 25).left_out) for _ in range(60)]
    assert left_out[0]
    assert not any(left_out[-5:])  # and then it is known to be quick
    slow["seg_decoder"].taken_ms = 5  # one millisecond too many, as 10 + 10 + 1 + 5 of 25
    late = [answered(cascade, 25) for _ in range(100)]
    assert sum(bool(finding.late_ms) for finding in late[20:]) <= 35
    slow["seg_decoder"].taken_ms = 50
    late = [answered(cascade, 25) for _ in range(100)]
    assert sum(bool(finding.late_ms) for finding in late) <= 6  # one in five may be as slow
    assert all(finding.late_ms or finding.left_out for finding in late)


@pytest.mark.parametrize("deadline_ms", [0, -1.0, float("nan"), float("inf"), 10**400, True, "30"])
def test_a_deadline_that_is_no_time_is_refused(cascade: Cascade, deadline_ms: Any) -> None:
    with pytest.raises(UsageError, match="expected a number above 0 and up to 1e9"):
        cascade.predict(photo(0), deadline_ms=deadline_ms)


# What a cascade can leave out


def test_a_system_without_a_coarse_mask_answers_whole_and_says_that_it_is_late(
    bundle_copy: Path, clock: Clock
) -> None:
    edit_spec(bundle_copy, lambda tree: tree["outputs"].update(coarse_logits=None))
    with Cascade.load(bundle_copy, num_threads=1) as cascade:
        slowed(cascade, clock)
        (part,) = parts_of(cascade.spec)
        assert part.nodes == tuple(NODES)
        finding = answered(cascade, 15, times=3)
    assert not finding.left_out
    assert finding.late_ms == pytest.approx(25)


def test_parts_end_with_answers(cascade: Cascade) -> None:
    parts = [(part.answers, part.nodes) for part in parts_of(cascade.spec)]
    assert parts == [
        (("coarse_mask",), ("rootseg",)),
        (("diagnosis",), ("cls",)),
        (("fine_mask",), ("seg_encoder", "seg_decoder")),
    ]


# On a GPU


def test_a_gpu_takes_its_graph_where_that_fits_and_else_the_networks_one_by_one(
    tiny_bundle: Path, clock: Clock
) -> None:
    cuda = RecordingCuda()
    bundle = Bundle(tiny_bundle)
    with Cascade(bundle, FakeCudaBackend(cuda, session_function), "fp32") as cascade:
        whole = cascade.predict(photo(0))
        graph = answered(cascade, 10)
        assert_equal(graph, whole)
        assert list(graph.timings_ms) == ["preprocess", "networks", "postprocess", "total"]
        cascade._hurry._pace.learn("networks", 100.0)
        for node in NODES:
            cascade._hurry._pace.learn(node, 6.0)
        one_by_one = answered(cascade, 10)
        assert one_by_one.left_out == ("fine_mask",)
        assert one_by_one.probabilities == whole.probabilities
        assert list(one_by_one.timings_ms)[1:3] == NODES[:2]
        assert_equal(cascade.predict(photo(0)), whole)


# What is made of it


def test_without_the_fine_mask_the_masks_are_not_judged(bundle_copy: Path, clock: Clock) -> None:
    """By the masks this bundle finds no skin in anything."""
    weights = {"weights": {"alike": 0.0}, "at_least": 1.0}
    section = {"content": {"no_skin": weights, "no_lesion": weights}, "informative": False}
    edit_spec(bundle_copy, lambda tree: tree.update(sections={"outcome": section}))
    with Cascade.load(bundle_copy, num_threads=1) as cascade:
        slowed(cascade, clock)
        assert cascade.predict(photo(0)).outcome == "no_finding"
        finding = answered(cascade, 25, times=2)
        assert (finding.outcome, finding.left_out) == ("answer", ("fine_mask",))
        grey = np.full((60, 90, 3), 128, np.uint8)
        blank = cascade.predict(grey, deadline_ms=25)
    assert (blank.reason, blank.left_out) == (Reason("blank"), ("fine_mask",))


def test_a_journal_replays_what_was_cut_short(
    cascade: Cascade, slow: dict[str, Slow], tmp_path: Path
) -> None:
    with Journal(tmp_path, cascade, Still(), limit=10**9, every_tensor=True) as journal:
        for index, deadline_ms in enumerate((100.0, 100.0, 25.0, 15.0, 100.0)):
            image_HWC = photo(index)
            finding = cascade.predict(image_HWC, deadline_ms=deadline_ms)
            journal.add(Frame(image_HWC, index, 0.0), finding)
    frames, outcome, missing = replayed(tmp_path, cascade)
    assert [one.stored.left_out for one in frames] == [
        (), (), ("fine_mask",), ("diagnosis", "fine_mask"), (),
    ]  # fmt: skip
    assert (outcome.num_different, missing.damaged) == (0, [])
    run = open_run(tmp_path)
    (segment,) = (tmp_path / run.name).glob("*.zip")
    rewrite(segment, lambda files: edit_line(files, 2, lambda line: line.update(left_out=["x"])))
    rewrite(segment, lambda files: edit_line(files, 3, lambda line: line.update(left_out="x")))
    _, _, missing = replayed(tmp_path, cascade)
    assert any("left_out" in line for line in missing.damaged)
