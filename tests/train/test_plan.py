"""The plan of a training: decided from the state of the folders, without training anything."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ckd.contract.errors import UsageError
from ckd.train.fitting.plan import Facts, StagePlan, fresh_stages, plan
from ckd.train.fitting.reuse import Offer
from ckd.train.fitting.stage_folder import StageFolder, StageState
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.recipe import AnyStage

RECIPE = ckdnet_tiny()  # of stages rootseg, cls and seg
RUN, OTHER = Path("absent/run"), Path("absent/other")


def ground(stage: AnyStage, sources: Sequence[StageFolder]) -> str:
    """Names the folders of the weights that a stage rests on, in place of a digest of them."""
    return " ".join(source.path.as_posix() for source in sources) or "nothing"


ROOTSEG = "absent/run/rootseg"
DONE = {
    "rootseg": StageState(is_done=True, rests_on="nothing", has_checkpoint=True),
    "cls": StageState(is_done=True, rests_on=ROOTSEG, has_checkpoint=True),
    "seg": StageState(is_done=True, rests_on=f"{ROOTSEG} absent/run/cls", has_checkpoint=True),
}
NONE = Facts(run=RUN, states={})
ALL = Facts(run=RUN, states=DONE)


def facts(base: Facts = ALL, *, stage: str | None = None, fresh: bool = False) -> Facts:
    stages = None if stage is None else (RECIPE.stage(stage),)
    return replace(base, stages=stages, fresh=fresh)


def states(**changes: StageState | None) -> Facts:
    """All stages are done but for the changes; None: the stage was never begun."""
    merged = {**DONE, **changes}
    return Facts(run=RUN, states={name: s for name, s in merged.items() if s is not None})


def actions(steps: Sequence[StagePlan]) -> list[str]:
    return [step.action for step in steps]


BEGUN = StageState(rests_on=ROOTSEG)
INTERRUPTED = StageState(rests_on=ROOTSEG, has_checkpoint=True)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (NONE, ["train", "train", "train"]),
        (ALL, ["keep", "keep", "keep"]),
        (states(seg=None), ["keep", "keep", "train"]),
        (states(cls=INTERRUPTED, seg=None), ["keep", "resume", "train"]),
        (states(cls=BEGUN, seg=None), ["keep", "train", "train"]),
        (states(cls=INTERRUPTED), ["keep", "resume", "keep"]),
        (facts(fresh=True), ["train", "train", "train"]),
        (facts(stage="rootseg"), ["keep", "keep", "keep"]),
        (facts(NONE, stage="rootseg"), ["train", "skip", "skip"]),
        (facts(states(cls=None, seg=None), stage="cls"), ["keep", "train", "skip"]),
        (facts(states(cls=INTERRUPTED, seg=None), stage="cls"), ["keep", "resume", "skip"]),
        (facts(states(seg=None), stage="seg"), ["keep", "keep", "train"]),
        (facts(stage="cls", fresh=True), ["keep", "train", "skip"]),
        (facts(stage="seg", fresh=True), ["keep", "keep", "train"]),
    ],
)  # fmt: skip
def test_each_state_has_its_action(known: Facts, expected: list[str]) -> None:
    steps = plan(RECIPE, known, ground)
    assert [step.stage for step in steps] == list(RECIPE.stages)
    assert actions(steps) == expected
    assert [step.trains for step in steps] == [name in ("train", "resume") for name in expected]
    assert all(step.reason for step in steps)
    assert not RUN.parent.exists()


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (NONE, ["not trained yet"] * 3),
        (ALL, ["already trained"] * 3),
        (facts(fresh=True), ["started over"] * 3),
        (
            states(rootseg=StageState(rests_on="nothing", has_checkpoint=True)),
            ["interrupted; goes on from its last finished epoch"]
            + ["already trained; checked again once rootseg is trained"] * 2,
        ),
        (
            facts(states(cls=BEGUN, seg=None), stage="cls"),
            [
                "trained before, not asked for now",
                "interrupted in its first epoch",
                "not asked for",
            ],
        ),
    ],
)
def test_reasons_are_in_words(known: Facts, expected: list[str]) -> None:
    assert [step.reason for step in plan(RECIPE, known, ground)] == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (NONE, ["nothing", None, None]),
        (ALL, ["nothing", ROOTSEG, f"{ROOTSEG} absent/run/cls"]),
        (states(cls=None, seg=None), ["nothing", ROOTSEG, None]),
        (states(cls=INTERRUPTED), ["nothing", ROOTSEG, None]),
        (facts(stage="cls"), [None, ROOTSEG, None]),  # the others are not asked for
        (facts(fresh=True), ["nothing", None, None]),
    ],
)
def test_what_rests_on_weights_that_are_not_trained_yet_is_unknown(
    known: Facts, expected: list[str | None]
) -> None:
    asked: list[str] = []

    def watched(stage: AnyStage, sources: Sequence[StageFolder]) -> str:
        asked.append(stage.name)
        return ground(stage, sources)

    steps = plan(RECIPE, known, watched)
    assert [step.ground for step in steps] == expected
    assert asked == [step.stage.name for step in steps if step.ground is not None]


def test_stages_asked_for_are_told_from_others() -> None:
    assert [step.is_asked_for for step in plan(RECIPE, ALL, ground)] == [True, True, True]
    steps = plan(RECIPE, facts(stage="cls"), ground)
    assert [step.is_asked_for for step in steps] == [False, True, False]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("rootseg", ["rootseg", "cls", "seg"]), ("cls", ["cls", "seg"]), ("seg", ["seg"])],
)
def test_fresh_starts_a_stage_and_all_later_ones_over(stage: str, expected: list[str]) -> None:
    asked = (RECIPE.stage(stage),)
    assert [s.name for s in fresh_stages(RECIPE, asked, True)] == expected
    assert not fresh_stages(RECIPE, asked, False)


# Refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "stage", "missing"),
    [
        (NONE, "cls", "rootseg"),
        (NONE, "seg", "rootseg"),
        (states(cls=None), "seg", "cls"),
        (states(cls=INTERRUPTED), "seg", "cls"),
    ],
)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_stage_needs_those_before_it(known: Facts, stage: str, missing: str, fresh: bool) -> None:
    message = rf"stage {stage} needs {missing}, which is not trained in .*--stage {missing}"
    with pytest.raises(UsageError, match=message):
        plan(RECIPE, facts(known, stage=stage, fresh=fresh), ground)


@pytest.mark.parametrize(
    "state",
    [
        StageState(is_done=True, rests_on="others", has_checkpoint=True),
        StageState(rests_on="others", has_checkpoint=True),
        StageState(rests_on="others"),
    ],
)
def test_a_stage_on_other_ground_is_refused(state: StageState) -> None:
    with pytest.raises(UsageError, match=r"cls: trained on top of other weights.*--stage cls"):
        plan(RECIPE, states(cls=state), ground)
    with pytest.raises(UsageError, match="cls: trained on top of other weights"):
        plan(RECIPE, facts(states(cls=state), stage="cls"), ground)


def test_other_ground_does_not_matter_to_a_stage_that_is_started_over_or_left_alone() -> None:
    other = states(seg=StageState(is_done=True, rests_on="others"))
    assert actions(plan(RECIPE, facts(other, fresh=True), ground)) == ["train"] * 3
    assert actions(plan(RECIPE, facts(other, stage="cls"), ground)) == ["keep"] * 3


def test_other_ground_cannot_be_told_before_the_stages_below_are_trained() -> None:
    other = states(rootseg=None, seg=StageState(is_done=True, rests_on="others"))
    assert actions(plan(RECIPE, other, ground)) == ["train", "keep", "keep"]


# Reuse ---------------------------------------------------------------------------------------


def offers(**changes: Offer) -> dict[str, Offer]:
    """Another run with all stages, which rest on each other."""
    rests_on = {
        "rootseg": "nothing",
        "cls": "absent/other/rootseg",
        "seg": "absent/other/rootseg absent/other/cls",
    }
    whole = {n: Offer(StageFolder(OTHER / n), rests_on=text) for n, text in rests_on.items()}
    return {**whole, **changes}


def reusing(known: Facts = NONE, **changes: Offer) -> Facts:
    return replace(known, reused=OTHER, offers=offers(**changes))


def test_stages_that_rest_on_reused_ones_are_reused() -> None:
    steps = plan(RECIPE, reusing(), ground)
    assert actions(steps) == ["reuse", "reuse", "reuse"]
    assert [step.source for step in steps] == [StageFolder(OTHER / s.name) for s in RECIPE.stages]
    assert [step.obstacle for step in steps] == [None, None, None]
    assert steps[2].ground == "absent/other/rootseg absent/other/cls"
    assert steps[0].reason == f"the same as {OTHER / 'rootseg'}"


CLS = StageFolder(OTHER / "cls")


@pytest.mark.parametrize(
    ("offer", "obstacle"),
    [
        (Offer(CLS, difference="epochs differs"), "epochs differs"),
        (Offer(CLS, is_done=False), "it is not finished there"),
        (Offer(CLS, rests_on="others"), "it rests on other weights, or was chosen by other"),
        (Offer(CLS, rests_on="absent/other/rootseg", damage="x is damaged"), "x is damaged"),
    ],
)
def test_nothing_above_a_stage_that_is_trained_anew_is_reused(offer: Offer, obstacle: str) -> None:
    steps = plan(RECIPE, reusing(cls=offer), ground)
    assert actions(steps) == ["reuse", "train", "train"]
    assert (steps[1].obstacle or "").startswith(obstacle)
    assert steps[1].reason == f"not reused: {steps[1].obstacle}"
    assert steps[2].obstacle == "it rests on cls, which is not trained yet"


def test_what_differs_is_named_before_what_a_stage_rests_on() -> None:
    cls, seg = (Offer(StageFolder(OTHER / name), name) for name in ("cls", "seg"))
    steps = plan(RECIPE, reusing(cls=cls, seg=seg), ground)
    assert [step.obstacle for step in steps] == [None, "cls", "seg"]


def test_a_run_of_which_nothing_can_be_used_is_refused() -> None:
    changed = Offer(StageFolder(OTHER / "rootseg"), difference="seed differs")
    message = r"other: nothing of it can be reused: of rootseg seed differs; leave out --reuse"
    with pytest.raises(UsageError, match=message):
        plan(RECIPE, reusing(rootseg=changed), ground)
    with pytest.raises(UsageError, match=message):
        plan(RECIPE, facts(reusing(ALL, rootseg=changed), fresh=True), ground)
    # A repeated command finds its own stage, whatever the other run has become.
    assert actions(plan(RECIPE, reusing(ALL, rootseg=changed), ground)) == ["keep"] * 3


@pytest.mark.parametrize("state", [BEGUN, INTERRUPTED, DONE["cls"]])
def test_a_stage_that_was_begun_here_is_not_replaced(state: StageState) -> None:
    offer = Offer(CLS, rests_on=ROOTSEG)
    steps = plan(RECIPE, reusing(states(cls=state, seg=None), cls=offer), ground)
    assert steps[1].action != "reuse"
    assert steps[1].obstacle is None


def test_a_stage_is_reused_on_top_of_one_that_is_trained_here() -> None:
    known = reusing(states(cls=None, seg=None), cls=Offer(CLS, rests_on=ROOTSEG))
    steps = plan(RECIPE, known, ground)
    assert actions(steps) == ["keep", "reuse", "train"]
    assert steps[2].ground == f"{ROOTSEG} absent/other/cls"
    assert "rests on other weights" in (steps[2].obstacle or "")


def test_a_single_stage_is_reused() -> None:
    known = reusing(states(cls=None, seg=None), cls=Offer(CLS, rests_on=ROOTSEG))
    assert actions(plan(RECIPE, facts(known, stage="cls"), ground)) == ["keep", "reuse", "skip"]


def test_fresh_stages_are_reused_where_they_are_the_same() -> None:
    assert actions(plan(RECIPE, facts(reusing(ALL), fresh=True), ground)) == ["reuse"] * 3


def test_a_stage_that_the_other_run_lacks_is_trained() -> None:
    lacking = Offer(CLS, difference="there is no stage cls there", is_done=False)
    steps = plan(RECIPE, reusing(cls=lacking), ground)
    assert steps[1].obstacle == "there is no stage cls there"
