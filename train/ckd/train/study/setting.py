"""What a study compares, read from a TOML file:

    name = "small cascades"
    folds = 3
    decide_on = [0, 1]

    [[candidates]]
    name = "today"
    recipe = "ckdnet-mobile"
    seeds = [0, 1, 2]

    [[candidates]]
    name = "taught"
    recipe = "ckdnet-mobile-taught"
    settings = ["stages.cls_student10.epochs=24"]

    [elsewhere]
    MEL = "MEL"
    SBK = "BKL"

All candidates are judged on the same folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from ckd.contract.errors import UsageError
from ckd.contract.parsing import read_toml
from ckd.data.samples import SplitBy
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.stage import Seed, Stage
from ckd.train.recipes.text import with_overrides
from ckd.train.settings import STRICT

#: A name that can be the name of a folder on any system.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to train a candidate: a recipe whose stages have seeds.

    Attributes:
        name: of its folder; that of the candidate, with the seed if there are several.
        candidate: name of the candidate.
        recipe: to be trained on each fold.
    """

    name: str
    candidate: str
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A recipe with changes, and the seeds that it is trained with.

    Attributes:
        settings: changes, as `ckd-train fit --set` takes them.
        seeds: of the stages that have none of their own; the recipe's seed by default. All seeds
            have the same partition into folds and start from the same weights.
        figures: that the candidate is there for; others are left out of table and picture.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Name
    recipe: str
    settings: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = ()
    figures: Annotated[tuple[Literal["mean_auc", "fine_jaccard"], ...], Field(min_length=1)] = (
        "mean_auc",
        "fine_jaccard",
    )

    def attempts(self) -> tuple[Attempt, ...]:
        """The candidate with each of its seeds.

        Raises:
            UsageError: the recipe is none, its seeds make no difference, or held-out images choose
                one of its stages, so that they could not judge it.
        """
        recipe = with_overrides(find_recipe(self.recipe), list(self.settings))
        if chosen := [stage.name for stage in recipe.stages if stage.select == "best"]:
            raise UsageError(
                f"candidate {self.name}: the held-out images would choose the epoch or the members "
                f"of {chosen[0]} and then judge it; set stages.{chosen[0]}.select to last or all"
            )
        if not self.seeds:
            return (Attempt(self.name, self.name, recipe),)
        attempts = tuple(
            Attempt(f"{self.name}-seed{seed}", self.name, _seeded(recipe, seed))
            for seed in self.seeds
        )
        for number, attempt in enumerate(attempts):
            if attempt.recipe in [other.recipe for other in attempts[:number]]:
                raise UsageError(
                    f"candidate {self.name}: two seeds train the same, since they are equal or all "
                    "stages have seeds of their own; leave out seeds"
                )
        return attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is compared, and on which folds.

    Attributes:
        folds: that the training images are cut into.
        decide_on: numbers of the folds on which every candidate is trained.
        candidates: to compare.
        elsewhere: for labels of these images, the label of another data set that stands for it
            there; the area under the curve of each is reported, and nothing is chosen by it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    folds: Annotated[int, Field(ge=2)]
    decide_on: Annotated[tuple[int, ...], Field(min_length=1)]
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)]
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := [k for k in self.decide_on if k not in range(self.folds)]:
            raise ValueError(
                f"no fold {unknown[0]}; {self.folds} folds are numbered 0 to {self.folds - 1}"
            )
        if len(set(self.decide_on)) < len(self.decide_on):
            raise ValueError(
                f"decide_on names fold {max(self.decide_on, key=self.decide_on.count)} twice"
            )
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) < len(names):
            raise ValueError(f"two candidates are named {max(names, key=names.count)}")

    @property
    def split_by(self) -> SplitBy:
        """How the training images are cut from others, alike for all candidates."""
        return self.candidates[0].attempts()[0].recipe.split_by

    def attempts(self) -> tuple[Attempt, ...]:
        """All candidates with all of their seeds, in order."""
        return tuple(each for candidate in self.candidates for each in candidate.attempts())


def load_study(path: Path) -> Study:
    """Read a study; `UsageError` says what is wrong in the file."""
    try:
        tree = read_toml(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: not TOML ({error})") from error
    try:
        study = TypeAdapter(Study).validate_python(_frozen(tree))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise UsageError(f"{path}: {place}: {first['msg']}{got}") from error
    _check_attempts(study.attempts())
    return study


def _check_attempts(attempts: Sequence[Attempt]) -> None:
    """Raise `UsageError` if two attempts share a folder, or not all have the same folds."""
    names = [attempt.name for attempt in attempts]
    if len(set(names)) < len(names):
        raise UsageError(f"two candidates would be kept as {max(names, key=names.count)}")
    first = attempts[0]
    for attempt in attempts:
        for name in ("seed", "split_by"):
            ours, theirs = getattr(attempt.recipe, name), getattr(first.recipe, name)
            if ours != theirs:
                raise UsageError(
                    f"{attempt.candidate} would be judged on other folds than {first.candidate}: "
                    f"its recipe's {name} is {ours}, expected {theirs}; stages may have seeds of "
                    "their own"
                )


def _frozen(value: Any) -> Any:
    """TOML's lists as tuples: the settings are strict."""
    if isinstance(value, dict):
        return {key: _frozen(one) for key, one in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    return replace(
        recipe,
        stages=tuple(
            replace(stage, seed=seed) if isinstance(stage, Stage) and stage.seed is None else stage
            for stage in recipe.stages
        ),
    )
