"""An answer that settles, over made-up pans of generated skin with scripted probabilities.

Suffixes: H rows, W columns; S side of what the networks saw.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from deciding import deciding_sections
from findings import made_finding, tiny_spec
from numpy.typing import NDArray

from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import UsageError
from ckd.data.synthetic import Hand, dermoscopy, pan, pan_over_two
from ckd.finding.capture import Capture
from ckd.finding.decision import Decider
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason
from ckd.finding.overlay import HELD_RGB, draw_overlay
from ckd.runtime import Settler
from ckd.runtime.settling.hints import SteadyHint
from ckd.runtime.settling.settler import HOLD_S

SIDE = 192
#: What the networks see, and where the lesion is.
Seen: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.bool_]]
CALM = Hand(shift=0.02, zoom=0.02, turn_deg=2.0, stops=0.1, noise=3.0)
FRAME_S = 1 / 30


@pytest.fixture(scope="module")
def decider() -> Decider:
    spec = tiny_spec()
    spec = replace(spec, sections=deciding_sections(spec))  # melanoma is flagged from 0.2 on
    return Decider(spec, lambda name: b"")


@pytest.fixture
def settler(decider: Decider) -> Settler:
    return Settler(decider)


@pytest.fixture(scope="module")
def views() -> list[Seen]:
    """A second of a hand over one lesion: what the networks see, and where it is."""
    scene = dermoscopy(seed=3, side_px=256)
    return [*pan(scene.image_HWC, scene.mask_HW, np.random.default_rng(0), 30, SIDE, CALM)]


def found(decider: Decider, view: Seen, melanoma: float = 0.1) -> Finding:
    """What a cascade would say of a view."""
    seen_SS3, mask_HW = view
    fitted = {"MEL": melanoma, "SBK": 0.1, "NEV": 0.9 - melanoma}
    return made_finding(
        mask_HW, mask_HW, fitted,
        fitted=fitted, seen_SS3=seen_SS3, prevalence={"MEL": 0.2, "SBK": 0.1, "NEV": 0.7},
        decision=decider.decision(fitted, {}, None),
    )  # fmt: skip


def otsu(seen_SS3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The largest dark piece: enough of an outline for generated lesions."""
    grey = cv2.GaussianBlur(cv2.cvtColor(seen_SS3, cv2.COLOR_RGB2GRAY), (0, 0), 3)
    _, dark = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(dark)
    return np.asarray(pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), np.bool_)


# Pooling


def test_the_answer_is_the_mean_of_the_frames_and_the_decision_follows_it(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    said = [0.1, 0.15, 0.5, 0.4]
    for number, melanoma in enumerate(said):
        own = found(decider, views[number], melanoma)
        settled = settler.settle(own, number * FRAME_S)
        mean = np.mean(said[: number + 1])
        assert settled.fitted["MEL"] == pytest.approx(mean)
        assert settled.probabilities["MEL"] == pytest.approx(mean)
        assert sum(settled.fitted.values()) == pytest.approx(1)
        assert settled.raw is own.raw
        assert settled.decision is not None
        assert settled.decision.flagged == (mean >= 0.2)
        assert settled.pooled is not None
        assert settled.pooled.frames == number + 1
        assert settled.pooled.spread == pytest.approx(np.std(said[: number + 1]))
    json.dumps(settler.state)


def test_it_is_settled_when_ten_frames_came_to_the_same(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    settled = [
        settler.settle(found(decider, view), number * FRAME_S).pooled
        for number, view in enumerate(views)
    ]
    assert [pooled is not None and pooled.settled for pooled in settled] == [False] * 9 + [
        True
    ] * 21
    assert settled[0] is not None
    assert settled[-1] is not None
    assert settled[0].shown == "Hold still: not settled yet."
    assert settled[-1].shown == "Settled over 30 pictures."


def test_a_referral_comes_at_once_and_goes_slowly(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    refers, steady = [], []
    for number in range(30):
        melanoma = 0.9 if number == 3 else 0.05
        settled = settler.settle(found(decider, views[number], melanoma), number * FRAME_S)
        assert settled.decision is not None
        refers.append(settled.decision.refer)
        assert settled.pooled is not None
        steady.append(settled.pooled.settled)
    # The mean is above the threshold in the fourth and fifth frame only.
    assert refers == [False] * 3 + [True] * 11 + [False] * 16
    assert not any(one for one, refer in zip(steady, refers, strict=True) if refer)
    assert steady[-1]


def test_without_fitted_probabilities_scores_are_pooled(
    views: list[Seen],
) -> None:
    settler = Settler(Decider(tiny_spec(), lambda name: b""))
    for number, melanoma in enumerate((0.1, 0.3)):
        seen_SS3, mask_HW = views[number]
        own = made_finding(mask_HW, None, {"MEL": melanoma, "NEV": 1 - melanoma}, seen_SS3=seen_SS3)
        settled = settler.settle(own, number * FRAME_S)
    assert settled.probabilities == {"MEL": pytest.approx(0.2), "NEV": pytest.approx(0.8)}
    assert (settled.fitted, settled.decision) == ({}, None)


def test_a_cascade_without_masks_is_pooled_by_its_pictures(
    views: list[Seen],
) -> None:
    settler = Settler(Decider(tiny_spec(), lambda name: b""))
    for number, (seen_SS3, _) in enumerate(views[:5]):
        own = made_finding(None, None, {"MEL": 0.5, "NEV": 0.5}, seen_SS3=seen_SS3)
        settled = settler.settle(own, number * FRAME_S)
    assert settled.mask_HW is None
    assert settled.pooled is not None
    assert settled.pooled.frames == 5
    other = dermoscopy(seed=9, side_px=SIDE).image_HWC
    for number in (5, 6):
        settled = settler.settle(replace(own, seen_SS3=other), number * FRAME_S)
    assert settled.pooled is not None
    assert settled.pooled.frames == 1


# Masks


def test_masks_are_moved_with_the_skin_and_smoothed(settler: Settler, decider: Decider) -> None:
    scene = dermoscopy(seed=4, side_px=256)
    rng, scores = np.random.default_rng(1), []
    restless = replace(CALM, shift=0.05)
    frames = pan(scene.image_HWC, scene.mask_HW, rng, 40, 320, restless)
    for number, (frame_HWC, true_HW) in enumerate(frames):
        # A network that wavers: it outlines too little or too much.
        size = int(rng.integers(1, 17))
        way = cv2.erode if rng.random() < 0.5 else cv2.dilate
        wavering_HW = way(true_HW.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        seen_SS3 = cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        own = found(decider, (np.asarray(seen_SS3), wavering_HW))
        settled = settler.settle(own, number * FRAME_S)
        assert settled.mask_HW is not None
        assert settled.mask_HW.shape == (320, 320)
        scores.append(
            [confusion_from_masks(one, true_HW).jaccard for one in (wavering_HW, settled.mask_HW)]
        )
    single, smooth = np.mean(scores[10:], axis=0)
    assert smooth > single + 0.05
    assert smooth > 0.85
    assert settled.pooled is not None
    assert settled.pooled.frames == 40


def test_a_finding_without_a_fine_mask_does_not_enter_the_smoothed_one(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    for number in range(5):
        whole = settler.settle(found(decider, views[number]), number * FRAME_S)
    _, mask_HW = views[5]
    wide_HW = cv2.dilate(mask_HW.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    hurried = replace(
        found(decider, views[5]), mask_HW=None, coarse_mask_HW=wide_HW, left_out=("fine_mask",)
    )
    settled = settler.settle(hurried, 5 * FRAME_S)
    assert settled.pooled is not None
    assert settled.pooled.frames == 6  # its diagnosis counts
    assert settled.mask_HW is not None
    assert whole.mask_HW is not None
    assert confusion_from_masks(settled.mask_HW, mask_HW).jaccard > 0.93
    assert confusion_from_masks(settled.mask_HW, wide_HW).jaccard < 0.9
    without = Settler(decider).settle(hurried, 0.0)
    assert (without.mask_HW, without.mask_from) == (None, "coarse")


# What begins anew


def test_another_lesion_begins_anew(settler: Settler, decider: Decider, views: list[Seen]) -> None:
    for number in range(5):
        settler.settle(found(decider, views[number]), number * FRAME_S)
    other = dermoscopy(seed=5, side_px=SIDE)
    own = found(decider, (other.image_HWC, other.mask_HW), 0.9)
    held = settler.settle(own, 5 * FRAME_S)
    assert held.is_held
    assert held.fitted["MEL"] < 0.2
    settled = settler.settle(own, 6 * FRAME_S)
    assert settled.pooled is not None
    assert settled.pooled.frames == 1
    assert settled.fitted["MEL"] == 0.9


@pytest.mark.parametrize("seeds", [(3, 4), (6, 7), (10, 11)])
def test_two_lesions_of_one_pan_are_never_pooled(
    settler: Settler, decider: Decider, seeds: tuple[int, int]
) -> None:
    one, other = (dermoscopy(seed=seed, side_px=256).image_HWC for seed in seeds)
    began, longest = 0.0, 0
    frames = pan_over_two(one, other, np.random.default_rng(seeds[0]), 90, SIDE, CALM)
    for number, (seen_SS3, gone) in enumerate(frames):
        own = found(decider, (seen_SS3, otsu(seen_SS3)))
        pooled = settler.settle(own, number * FRAME_S).pooled
        assert pooled is not None
        began = gone if pooled.frames == 1 else began
        longest = max(longest, pooled.frames)
        assert not (began < 0.3 and gone > 0.7)
    assert longest >= 15


@pytest.mark.parametrize("pause_s", [HOLD_S + 0.1, -1.0])
def test_a_pause_or_a_clock_that_jumps_begins_anew(
    settler: Settler,
    decider: Decider,
    views: list[Seen],
    pause_s: float,
) -> None:
    settler.settle(found(decider, views[0], 0.9), 10.0)
    settled = settler.settle(found(decider, views[1]), 10.0 + pause_s)
    assert settled.pooled is not None
    assert settled.pooled.frames == 1


def test_another_size_begins_anew(settler: Settler, decider: Decider, views: list[Seen]) -> None:
    settler.settle(found(decider, views[0]), 0.0)
    seen_SS3, mask_HW = views[1]
    larger_HW = np.repeat(np.repeat(mask_HW, 2, axis=0), 2, axis=1)
    settled = settler.settle(found(decider, (seen_SS3, larger_HW)), FRAME_S)
    assert settled.mask_HW is not None
    assert settled.mask_HW.shape == (2 * SIDE, 2 * SIDE)
    assert settled.pooled is not None
    assert settled.pooled.frames == 1


# Frames that cannot be judged


def unusable(decider: Decider, view: Seen) -> Iterator[Finding]:
    """Frames that cannot be pooled, each for another reason."""
    own, empty_HW = found(decider, view, 0.9), np.zeros_like(view[1])
    yield replace(own, capture=Capture(("out_of_focus",), {"focus": 0.1}))
    nothing = replace(own, mask_HW=empty_HW, coarse_mask_HW=empty_HW, probabilities={}, fitted={},
                      decision=None, prevalence=None, reason=Reason("no_skin"))  # fmt: skip
    yield replace(nothing, capture=Capture(("no_skin",)))
    yield nothing
    yield replace(own, mask_HW=None, probabilities={}, fitted={}, decision=None, prevalence=None,
                  left_out=("diagnosis", "fine_mask"))  # fmt: skip


@pytest.mark.parametrize("kind", range(4))
def test_the_answer_stays_for_a_moment_and_says_how_old_it_is(
    settler: Settler,
    decider: Decider,
    views: list[Seen],
    kind: int,
) -> None:
    for number in range(12):
        answer = settler.settle(found(decider, views[number]), number * FRAME_S)
    bad = [*unusable(decider, views[12])][kind]
    last_s = 11 * FRAME_S
    held = settler.settle(bad, last_s + 0.5)
    assert held.fitted == answer.fitted
    assert (held.decision, held.reason, held.raw) == (answer.decision, None, bad.raw)
    assert held.mask_HW is not None
    assert answer.mask_HW is not None
    if bad.seen_SS3 is None or bad.reason is not None:
        np.testing.assert_array_equal(held.mask_HW, answer.mask_HW)
    else:  # the outline goes with the skin
        assert confusion_from_masks(held.mask_HW, views[12][1]).jaccard > 0.9
    assert held.is_held
    assert held.pooled is not None
    assert (held.pooled.frames, held.pooled.settled) == (12, False)
    assert held.pooled.age_s == pytest.approx(0.5)
    assert "This answer is 0.5 s old." in held.coaching
    assert (held.capture and held.capture.hints) == (bad.capture and bad.capture.hints)
    again = settler.settle(found(decider, views[12]), last_s + 1.0)
    assert again.pooled is not None
    assert (again.pooled.frames, again.is_held) == (13, False)
    gone = settler.settle(bad, last_s + 1.0 + HOLD_S + 0.1)
    assert not gone.is_held
    assert gone.fitted == {}
    assert gone.decision is None
    if kind == 0:
        assert gone.headline == "Can't judge: out of focus."
        assert gone.as_dict()["reason"]["code"] == "cannot_judge"
        assert gone.lesion_area_px == 0
        assert gone.raw.probabilities["MEL"] == 0.9
    else:
        assert gone.headline == bad.headline


def test_no_answer_is_held_over_another_lesion(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    """Which may be taken badly in every frame, so that none of it is ever pooled."""
    for number in range(12):
        settler.settle(found(decider, views[number]), number * FRAME_S)
    other = dermoscopy(seed=5, side_px=SIDE)
    own = found(decider, (other.image_HWC, other.mask_HW), 0.9)
    bright = replace(own, capture=Capture(("over_exposed",), {"bright": 0.7}))
    first, second = (settler.settle(bright, number * FRAME_S) for number in (12, 13))
    assert first.is_held  # one bad outline is no other lesion
    assert second.pooled is None
    assert second.decision is None
    assert second.headline == "Can't judge: too bright."


def test_an_answer_is_held_over_shaken_frames_of_its_lesion(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    for number in range(12):
        settler.settle(found(decider, views[number]), number * FRAME_S)
    rng = np.random.default_rng(0)
    for number in range(12, 30):
        seen_SS3, mask_HW = views[number]
        shaken = cv2.blur(seen_SS3, (1, 25)) + rng.normal(0, 6, seen_SS3.shape)
        own = found(decider, (np.clip(shaken, 0, 255).astype(np.uint8), mask_HW))
        bad = replace(own, capture=Capture(("motion",), {"motion": 3.0}))
        held = settler.settle(bad, number * FRAME_S)
        assert held.is_held
        assert held.mask_HW is not None


@pytest.mark.parametrize(("rate", "comes", "goes"), [(30, 4, 8), (5, 2, 3)])
def test_a_hint_comes_and_goes_by_time_and_by_no_single_frame(
    rate: int, comes: int, goes: int
) -> None:
    good, bad = Capture((), {}), Capture(("glare",), {})
    hint = SteadyHint()
    said = [hint.told(bad, number / rate) for number in range(10)]
    assert said.index("glare") == comes - 1
    said = [hint.told(good, (10 + number) / rate) for number in range(10)]
    assert said.index("") == goes - 1
    assert hint.told(bad, 20 / rate) == ""
    assert hint.told(good, 21 / rate) == ""


def test_what_is_no_frame_of_this_camera_is_refused(settler: Settler, decider: Decider) -> None:
    view = (np.full((SIDE, SIDE, 3), 150, np.uint8), np.ones((SIDE, SIDE), np.bool_))
    own = found(decider, view)
    with pytest.raises(UsageError, match="expected a finite number"):
        settler.settle(own, float("nan"))
    settler.settle(own, 0.0)
    with pytest.raises(UsageError, match="labels A, after others with MEL, SBK, NEV"):
        settler.settle(replace(own, fitted={"A": 1.0}, probabilities={"A": 1.0}), FRAME_S)


def test_without_an_answer_before_it_is_said_at_once_why(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    bad = next(unusable(decider, views[0]))
    assert settler.settle(bad, 0.0).headline == "Can't judge: out of focus."


def test_an_answer_of_frames_before_is_drawn_grey(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    image_HWC = np.full((SIDE, SIDE, 3), (200, 150, 120), np.uint8)
    fresh = settler.settle(found(decider, views[0]), 0.0)
    held = settler.settle(next(unusable(decider, views[1])), 0.5)
    grey = [
        int((np.abs(draw_overlay(image_HWC, one).astype(int) - HELD_RGB).max(axis=2) < 8).sum())
        for one in (fresh, held)
    ]
    assert grey[1] > grey[0] + 100


def test_the_hint_that_is_told_does_not_flicker(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    given = ["", "glare", "", "glare", "motion"] + 6 * ["motion"] + ["", "motion"] + 12 * [""]
    told = []
    for number, hint in enumerate(given):
        own = replace(found(decider, views[0]), capture=Capture((hint,) if hint else ()))
        settled = settler.settle(own, number * FRAME_S)
        assert settled.capture is not None
        assert settled.capture.hints == ((hint,) if hint else ())
        told.append(settled.capture.shown)
    assert told == 6 * [""] + 14 * ["Hold still."] + 5 * [""]


def test_one_bad_outline_is_passed_over(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    for number in range(12):
        answer = settler.settle(found(decider, views[number], 0.5), number * FRAME_S)
    seen_SS3, mask_HW = views[12]
    bad = found(decider, (seen_SS3, ~mask_HW), 0.0)
    held = settler.settle(bad, 12 * FRAME_S)
    assert (held.is_held, held.decision) == (True, answer.decision)
    again = settler.settle(found(decider, views[13], 0.5), 13 * FRAME_S)
    assert again.pooled is not None
    assert (again.pooled.frames, again.is_held) == (13, False)


def test_a_fine_mask_does_not_outlast_the_frames_that_it_is_of(
    settler: Settler, decider: Decider, views: list[Seen]
) -> None:
    settler.settle(found(decider, views[0]), 0.0)
    for number in range(1, 15):
        hurried = replace(found(decider, views[number]), mask_HW=None, left_out=("fine_mask",))
        settled = settler.settle(hurried, number * FRAME_S)
        assert (settled.mask_HW is None) == (number > 10)
