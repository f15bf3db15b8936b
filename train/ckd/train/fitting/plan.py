"""What one call of `fit` will do with each stage, decided before anything is done.

The plan is made of plain facts: the recipe, the state of each stage on disk, what another run
offers, and what each stage rests on. It is decided without training anything and without writing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ckd.contract.errors import UsageError
from ckd.train.fitting.reuse import Offer
from ckd.train.fitting.stage_folder import StageFolder, StageState, other_ground
from ckd.train.recipes.recipe import AnyStage, Recipe

Action = Literal[
    "keep",  # finished before; its weights are loaded
    "reuse",  # copied from another run, then loaded
    "resume",  # trained from its last finished epoch
    "train",  # trained from its start
    "skip",  # not asked for and not trained
]

#: Gives what a stage rests on, from the folders that hold the weights of all stages before it.
Ground = Callable[[AnyStage, Sequence[StageFolder]], str]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What will be done with one stage.

    Attributes:
        stage: of the recipe.
        action: to take.
        reason: for the action, in words.
        is_asked_for: False of stages that ``--stage`` leaves out.
        ground: text that says what the stage rests on. None if the plan cannot know: a stage before
            it must be trained first, or the stage is not asked for.
        source: folder to copy the stage from, if the action is "reuse".
        obstacle: why a stage of the run to reuse is not taken, None if it is or none was looked
            for.
    """

    stage: AnyStage
    action: Action
    reason: str
    is_asked_for: bool = True
    ground: str | None = None
    source: StageFolder | None = None
    obstacle: str | None = None

    @property
    def trains(self) -> bool:
        """Whether the stage is trained."""
        return self.action in ("train", "resume")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan is made of.

    Attributes:
        run: folder of the run; it need not exist, and nothing in it is read.
        states: of the stages on disk, by name; stages without one were never begun.
        stages: to train; all of them if None.
        fresh: start the first of these and all later ones over.
        reused: folder of another run whose stages may be taken, or None.
        offers: its stages, by name.
    """

    run: Path
    states: Mapping[str, StageState]
    stages: Sequence[AnyStage] | None = None
    fresh: bool = False
    reused: Path | None = None
    offers: Mapping[str, Offer] = field(default_factory=dict)

    def state(self, stage: AnyStage) -> StageState:
        """The state of a stage on disk."""
        return self.states.get(stage.name, StageState())


def fresh_stages(recipe: Recipe, asked: Sequence[AnyStage], fresh: bool) -> Sequence[AnyStage]:
    """Stages that ``--fresh`` starts over.

    The later ones are among them because they were trained on the old weights.
    """
    return recipe.stages[recipe.stages.index(asked[0]) :] if fresh else ()


def plan(recipe: Recipe, facts: Facts, ground: Ground) -> list[StagePlan]:
    """The plan of all stages, in order.

    Args:
        recipe: to be trained.
        facts: what is known beforehand.
        ground: asked for stages whose upstream weights all exist, and for no other.

    Raises:
        UsageError: a stage that is needed is not trained, a stage rests on something else than it
            would now, or nothing of the run to reuse is of use.
    """
    asked = recipe.stages if facts.stages is None else facts.stages
    fresh = fresh_stages(recipe, asked, facts.fresh)
    _check_upstream(recipe, facts, asked[0])
    steps: list[StagePlan] = []
    sources: list[StageFolder] = []  # of the weights that exist before anything is trained
    untrained: str | None = None  # the first stage whose weights do not exist yet
    for stage in recipe.stages:
        state = StageState() if stage in fresh else facts.state(stage)
        folder = StageFolder(facts.run / stage.name)
        if stage not in asked:
            step = _left_alone(stage, state)
        else:
            known = ground(stage, sources) if untrained is None else None
            if known is not None and state.rests_on not in (None, known):
                raise other_ground(folder)
            offer = facts.offers.get(stage.name)
            step = _asked_for(stage, state, known, offer, untrained, again=stage in fresh)
        steps.append(step)
        if step.action in ("keep", "reuse"):
            sources.append(step.source or folder)
        elif untrained is None:
            untrained = stage.name
    _check_use(steps[0], facts)
    return steps


def _check_upstream(recipe: Recipe, facts: Facts, first: AnyStage) -> None:
    for stage in recipe.stages[: recipe.stages.index(first)]:
        if not facts.state(stage).is_done:
            raise UsageError(
                f"stage {first.name} needs {stage.name}, which is not trained in {facts.run}; "
                f"run `ckd-train fit --stage {stage.name}` or `--stage all` first"
            )


def _check_use(first: StagePlan, facts: Facts) -> None:
    """All other stages rest on the first one: if that is not reused, none is."""
    if first.obstacle is not None:
        raise UsageError(
            f"{facts.reused}: nothing of it can be reused: of {first.stage.name} "
            f"{first.obstacle}; leave out --reuse, or name another run"
        )


def _left_alone(stage: AnyStage, state: StageState) -> StagePlan:
    if state.is_done:
        return StagePlan(stage, "keep", "trained before, not asked for now", False)
    return StagePlan(stage, "skip", "not asked for", False)


def _asked_for(
    stage: AnyStage,
    state: StageState,
    ground: str | None,
    offer: Offer | None,
    untrained: str | None,
    *,
    again: bool,
) -> StagePlan:
    obstacle = None
    if offer is not None and state == StageState():  # what was begun here is not replaced
        if ground is None:
            obstacle = offer.flaw() or f"it rests on {untrained}, which is not trained yet"
        else:
            obstacle = offer.obstacle(ground)
        if obstacle is None:
            reason = f"the same as {offer.source.path}"
            return StagePlan(stage, "reuse", reason, ground=ground, source=offer.source)
    if state.is_done:
        later = f"; checked again once {untrained} is trained" if ground is None else ""
        return StagePlan(stage, "keep", f"already trained{later}", ground=ground)
    if state.has_checkpoint:
        reason = "interrupted; goes on from its last finished epoch"
        return StagePlan(stage, "resume", reason, ground=ground)
    if obstacle is not None:
        reason = f"not reused: {obstacle}"
    elif again:
        reason = "started over"
    elif state.rests_on is not None:
        reason = "interrupted in its first epoch"
    else:
        reason = "not trained yet"
    return StagePlan(stage, "train", reason, ground=ground, obstacle=obstacle)
