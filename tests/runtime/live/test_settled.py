"""The loop with a settler, and auto-capture: what views and journal get, and what is saved."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from findings import made_finding, tiny_spec
from numpy.typing import NDArray
from tests.runtime.live.rig import LIVE, analyse, at_once, draw, frame

from ckd.contract.errors import CkdError
from ckd.data.synthetic import dermoscopy
from ckd.finding.capture import Capture
from ckd.finding.decision import Decider
from ckd.finding.finding import Finding
from ckd.finding.pooled import Pooled
from ckd.runtime import Settler
from ckd.runtime.live import AutoCapture, Shown, run_live
from ckd.runtime.live.web_board import Board
from ckd.runtime.live.window import PANEL_WIDTH_PX, window_picture
from ckd.runtime.sinks import Drawn
from ckd.runtime.sources import Frame, FrameSource, SourceState

SCENE = dermoscopy(seed=3, side_px=192)


class Frames(FrameSource):
    """So many frames, a thirtieth of a second apart."""

    name, detail, fps, dropped = "frames", "", 30.0, 0
    state: SourceState = "live"

    def __init__(self, count: int) -> None:
        self._left = iter(range(count))

    def get(self, timeout_s: float | None = None) -> Frame | None:
        number = next(self._left, None)
        if number is None:
            self.state = "ended"
            return None
        return Frame(SCENE.image_HWC, number, number / 30)

    def close(self) -> None:
        """Nothing is open."""


class SpyJournal:
    """Keeps what it is told."""

    problem = ""

    def __init__(self) -> None:
        self.findings: list[Finding | None] = []
        self.states: list[Any] = []

    def add(self, one: Frame, finding: Finding | None, over_frames: Any = None) -> None:
        self.findings.append(finding)
        self.states.append(over_frames)


def test_views_get_the_settled_answer_and_the_journal_the_frame_s_own() -> None:
    said = iter([0.2, 0.4, 0.6])

    def scripted(image_HWC: NDArray[np.uint8]) -> Finding:
        melanoma = next(said)
        scores = {"MEL": melanoma, "NEV": 1 - melanoma}
        return made_finding(SCENE.mask_HW, None, scores, seen_SS3=image_HWC)

    journal, seen = SpyJournal(), []
    run_live(
        Frames(3), at_once(scripted), draw,
        journal=journal,  # type: ignore[arg-type]
        settler=Settler(Decider(tiny_spec(), lambda name: b"")),
        on_finding=lambda frame, finding: seen.append(finding),
    )  # fmt: skip
    assert [one.probabilities["MEL"] for one in seen] == pytest.approx([0.2, 0.3, 0.4])
    assert [one and one.probabilities["MEL"] for one in journal.findings] == [0.2, 0.4, 0.6]
    assert [one and one.pooled for one in journal.findings] == [None] * 3
    assert [state["pooled"]["frames"] for state in journal.states] == [1, 2, 3]


# Auto-capture


def shown(
    at_s: float, focus: float, hints: Sequence[str] = (), pooled: int = 5, told: str = ""
) -> Shown:
    one = replace(frame(round(30 * at_s)), captured_s=at_s)
    finding = replace(
        analyse(one.image_HWC),
        capture=Capture(tuple(hints), {"focus": focus}, told),
        pooled=Pooled(pooled, pooled >= 5, 0.0),
    )
    return Shown(one, finding, Drawn(lambda: one.image_HWC))


def saved(frames: Sequence[Shown]) -> list[float]:
    """Times of the frames that are saved."""
    times: list[float] = []

    def save(one: Shown) -> Path:
        times.append(one.frame.captured_s)
        return Path("frame.png")

    with AutoCapture(save, lambda line: None) as view:
        for one in frames:
            view.update(LIVE, one)
        view.update(LIVE, None)
    return times


def steps(start_s: float, seconds: float) -> list[float]:
    return [start_s + 0.1 * step for step in range(round(10 * seconds) + 1)]


def test_the_sharpest_frame_of_a_good_second_is_saved_once() -> None:
    sharp = [shown(at_s, focus=1 - abs(at_s - 0.7)) for at_s in steps(0, 3)]
    assert saved(sharp) == pytest.approx([0.7])


def test_nothing_is_saved_before_a_good_second_is_over() -> None:
    assert saved([shown(at_s, 1.0) for at_s in steps(0, 0.9)]) == []
    broken = [shown(at_s, 1.0, ("motion",) if at_s == 0.5 else ()) for at_s in steps(0, 1.4)]
    assert saved(broken) == []
    assert saved([shown(0.0, 1.0), shown(1.2, 1.0)]) == []  # nothing is known of the time between


def test_after_a_hint_or_with_another_lesion_the_next_one_is_saved() -> None:
    first, second = steps(0, 1.2), steps(1.4, 1.2)
    between = shown(1.3, 1.0, ("out_of_focus",), told="out_of_focus")
    frames = [*(shown(at_s, 1.0) for at_s in first), between, *(shown(t, 1.0) for t in second)]
    assert saved(frames) == pytest.approx([0.0, 1.4])
    flicker = shown(1.3, 1.0, ("out_of_focus",))  # of which nobody is told
    frames = [*(shown(at_s, 1.0) for at_s in first), flicker, *(shown(t, 1.0) for t in second)]
    assert saved(frames) == pytest.approx([0.0])
    other = [
        *(shown(at_s, 1.0) for at_s in first),
        *(shown(at_s, 1.0, pooled=1 + at) for at, at_s in enumerate(second)),
    ]
    assert saved(other) == pytest.approx([0.0, 1.4])


def test_nothing_is_saved_while_a_hint_is_told_or_the_answer_may_change() -> None:
    assert saved([shown(at_s, 1.0, told="glare") for at_s in steps(0, 2)]) == []
    assert saved([shown(at_s, 1.0, pooled=3) for at_s in steps(0, 2)]) == []


def test_a_frame_of_long_before_the_answer_settled_is_not_saved() -> None:
    frames = [shown(at_s, focus=-at_s, pooled=5 if at_s >= 4 else 2) for at_s in steps(0, 5)]
    (at_s,) = saved(frames)
    assert 2.9 <= at_s <= 4.1


def test_the_sharpest_frame_is_saved_with_the_answer_of_the_moment() -> None:
    kept: list[Shown] = []

    def save(one: Shown) -> Path:
        kept.append(one)
        return Path("frame.png")

    with AutoCapture(save, lambda line: None) as view:
        for number, at_s in enumerate(steps(0, 1.2)):
            one = shown(at_s, focus=-at_s, pooled=2 + number)
            probabilities = {"MEL": 0.1 + 0.01 * number}
            view.update(LIVE, replace_finding(one, probabilities=probabilities))
    (one,) = kept
    assert one.frame.captured_s == 0.0
    assert one.finding.pooled == Pooled(12, True, 0.0)
    assert one.finding.probabilities == {"MEL": pytest.approx(0.2)}


def test_frames_that_were_not_judged_are_not_saved() -> None:
    unjudged = [replace_finding(shown(at_s, 1.0), capture=None) for at_s in steps(0, 2)]
    assert saved(unjudged) == []


def replace_finding(one: Shown, **changes: Any) -> Shown:
    return Shown(one.frame, replace(one.finding, **changes), one.overlay)


def test_the_answer_of_frames_before_is_not_saved() -> None:
    """As a frame without a lesion has one for two seconds, whatever its capture."""
    held = [
        replace_finding(shown(at_s, 1.0), pooled=Pooled(12, True, 0.0, at_s + 0.1))
        for at_s in steps(0, 2)
    ]
    assert saved(held) == []
    hurried = [
        replace_finding(shown(at_s, 1.0), left_out=("diagnosis", "fine_mask"))
        for at_s in steps(0, 2)
    ]
    assert saved(hurried) == []


def test_a_full_disk_is_said() -> None:
    said: list[str] = []

    def fails(one: Shown) -> Path:
        raise CkdError("out: no space left")

    with AutoCapture(fails, said.append) as view:
        for at_s in steps(0, 1.5):
            view.update(LIVE, shown(at_s, 1.0))
    assert said == ["error: out: no space left"]
    with pytest.raises(CkdError, match="frames are missing: out: no space left"):
        view.check()


def test_the_page_is_told_hint_and_how_settled_the_answer_is() -> None:
    board = Board("test", None, 640)
    held = replace_finding(
        shown(0.0, 1.0, ("motion",), told="motion"), pooled=Pooled(12, True, 0.0, 0.4)
    )  # of frames before
    board.publish(LIVE, held)
    result = board.state()["result"]
    assert (result["hint"], result["settled"]) == ("Hold still.", "This answer is 0.4 s old.")
    assert result["pooled"]["age_s"] == 0.4
    assert not any("old" in sentence for sentence in result["beneath"])
    assert result["good_picture"] == ""
    good = Capture((), {"focus": 1.0}, told="")
    board.publish(LIVE, replace_finding(held, capture=good))
    assert board.state()["result"]["good_picture"] == "Good picture."
    board.publish(LIVE, replace_finding(held, capture=replace(good, told="glare")))
    assert board.state()["result"]["good_picture"] == ""
    board.publish(LIVE, replace_finding(held, capture=None, pooled=None))
    result = board.state()["result"]
    assert (result["hint"], result["settled"], result["capture"]) == ("", "", None)


def test_the_window_writes_an_old_answer_in_grey() -> None:
    fresh = replace_finding(shown(0.0, 1.0), pooled=Pooled(12, True, 0.0))
    held = replace_finding(shown(0.0, 1.0, ("motion",)), pooled=Pooled(12, True, 0.0, 0.4))
    panels = [
        window_picture(LIVE, one, frozen=False, message="")[:, -PANEL_WIDTH_PX:]
        for one in (fresh, held)
    ]
    white = [int((panel.min(axis=2) > 220).sum()) for panel in panels]
    assert white[1] < white[0]
    assert (panels[0] != panels[1]).any()
