"""A training run as typed data.

A run is a list of stages. A stage either trains networks (`Stage`) or averages the weights of
earlier stages (`Soup`). Several stages may train the same networks: these are members, which differ
in their seeds, and a later stage may start from one of them, learn from all of them, or average
them. Where a network is used, it has the weights of the last stage before that trained it.

Everything is frozen; `ckd-train fit --set stages.cls.epochs=40` makes a changed copy, which is
validated like the original and saved beside the results.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.data.samples import SplitBy
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.stage import Seed, Stage
from ckd.train.settings import STRICT
from ckd.train.systems import Architecture


def _kind(step: Any) -> str:
    """Which of both an entry of `Recipe.stages` is: the two have different settings."""
    return (
        "soup" if isinstance(step, Soup) or (isinstance(step, dict) and "of" in step) else "stage"
    )


#: An entry of a recipe: networks are trained, or weights of earlier entries are averaged.
AnyStage = Annotated[
    Annotated[Stage, Tag("stage")] | Annotated[Soup, Tag("soup")], Discriminator(_kind)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training run: the system, its stages in order, and settings that they share."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    system: Architecture
    image_size: Annotated[int, Field(ge=32, multiple_of=32)]  # the encoders halve it five times
    stages: tuple[AnyStage, ...]
    tasks: tuple[str, ...] = (
        "MEL",
        "SBK",
    )  # labels of the mean AUC; all labels where one of these is missing
    target: str | None = None  # label that is looked for; see `target_of`
    seed: Seed = 6666  # also of the partition into folds
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    mask_threshold: Literal["half", "chosen_on_train"] = "half"  # see `evaluation.mask_threshold`
    split_by: SplitBy = "lesion"  # where the data set has no split of its own, see `read_split`

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages are named {max(names, key=names.count)}")
        for number, stage in enumerate(self.stages):
            earlier = {before.name: before for before in self.stages[:number]}
            for name in stage.rests_on():
                if name not in earlier:
                    raise ValueError(
                        f"stage {stage.name} builds on {name!r}, which is no earlier stage; "
                        f"expected {' or '.join(earlier) or 'none, as it is the first'}"
                    )
            taught_by = stage.taught_by if isinstance(stage, Stage) else ()
            if len({earlier[name].nodes for name in taught_by}) > 1:
                raise ValueError(
                    f"stage {stage.name}: {', '.join(taught_by)} train different networks, so "
                    "their answers cannot be averaged"
                )
            for name in stage.same_networks():
                if earlier[name].nodes != stage.nodes:
                    raise ValueError(
                        f"stage {stage.name} takes weights of {name}, which trains "
                        f"{', '.join(earlier[name].nodes)}; expected {', '.join(stage.nodes)}"
                    )

    def target_of(self, labels: Sequence[str]) -> str:
        """The label that decisions are about: the recipe's, else melanoma, else the first label.

        Raises:
            UsageError: the recipe's own is no label.
        """
        if self.target is None:
            return "MEL" if "MEL" in labels else labels[0]
        if self.target not in labels:
            raise UsageError(
                f"recipe {self.name}: its target {self.target!r} is no label; expected one of "
                f"{', '.join(labels)}"
            )
        return self.target

    @property
    def trained(self) -> tuple[Stage, ...]:
        """The stages that train."""
        return tuple(stage for stage in self.stages if isinstance(stage, Stage))

    def seed_of(self, stage: Stage) -> int:
        """The stage's own seed, or the recipe's if it has none."""
        return self.seed if stage.seed is None else stage.seed

    def first_trained(self, stage: AnyStage) -> Stage:
        """The stage itself if it trains, otherwise the first that its average goes back to."""
        while isinstance(stage, Soup):
            stage = self.any_stage(stage.of[0])
        return stage

    def any_stage(self, name: str) -> AnyStage:
        """The stage of that name; `UsageError` lists the known names."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages)
        raise UsageError(f"recipe {self.name} has no stage {name!r}; expected all, {known}")

    def stage(self, name: str) -> Stage:
        """The stage of that name, which trains; `UsageError` also of one that averages weights."""
        stage = self.any_stage(name)
        if isinstance(stage, Soup):
            raise UsageError(
                f"recipe {self.name}: stage {name!r} averages weights; expected one that trains, "
                f"{', '.join(stage.name for stage in self.trained)}"
            )
        return stage

    def digest(self) -> str:
        """SHA-256 of every setting but `precision`.

        That follows the machine, which computes bfloat16 fast or not at all: folds may be trained
        on one and the networks that are shipped on another.
        """
        settings = asdict(self)
        del settings["precision"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write every setting as JSON, whole or not at all."""
        replace_file(path, (json.dumps(asdict(self), indent=2) + "\n").encode())
