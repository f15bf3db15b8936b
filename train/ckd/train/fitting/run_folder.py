"""The folder of a training run, and how a run is loaded again.

recipe.json             every setting
data.json               data set, counts and a digest of its files
mask_threshold.json     the mask threshold, if one was chosen; a teacher's has a file of its own
<stage>/                one folder for each stage, see `ckd.train.fitting.stage_folder`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckd.console import is_first_process
from ckd.contract.disk import lasting_folder
from ckd.contract.errors import InputError, UsageError
from ckd.contract.leftovers import discard
from ckd.contract.parsing import read_json
from ckd.contract.whole_file import replace_file
from ckd.contract.writer_lock import LOCK
from ckd.train.evaluation.mask_threshold import (
    MASK_THRESHOLD,
    TEACHER_MASK_THRESHOLD,
    load_mask_threshold,
)
from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.recipes.recipe import AnyStage, Recipe
from ckd.train.recipes.text import load_recipe
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder, which need not exist yet."""

    path: Path

    def stage(self, stage: AnyStage) -> StageFolder:
        """The folder of a stage."""
        return StageFolder(self.path / stage.name)

    def has_all(self, recipe: Recipe) -> bool:
        """Whether all stages of the recipe are finished."""
        return all(self.stage(stage).is_done for stage in recipe.stages)

    def check(
        self, recipe: Recipe, description: Mapping[str, Any], fresh: Sequence[AnyStage] = ()
    ) -> None:
        """Make sure that the folder can hold this run; nothing is changed.

        Args:
            recipe: to be trained.
            description: of images and starting weights (`ckd.train.fitting.identity.describe`).
            fresh: stages to start over; if these are all, any run in the folder may be replaced.

        Raises:
            UsageError: the folder holds a run of other settings, data or starting weights, or
                something that is no run.
        """
        names = {path.name for path in self._entries()}
        if names - {"data.json"} and "recipe.json" not in names:
            raise UsageError(
                f"{self.path} is no run folder, and not empty; name another one with --out"
            )
        if not self._is_run() or len(fresh) == len(recipe.stages):
            return
        same = load_recipe(self.path / "recipe.json") == recipe
        if not same or load_data(self.path) != description:
            what = "data or starting weights" if same else "settings"
            raise UsageError(
                f"{self.path} holds a run of other {what}; name another folder with --out, "
                "or start over with --fresh"
            )

    def open(
        self, recipe: Recipe, description: Mapping[str, Any], fresh: Sequence[AnyStage] = ()
    ) -> None:
        """Create the folder, or remove the stages ``fresh`` of the run in it.

        Arguments and errors are those of `check`. Only the first process changes anything.
        """
        if not is_first_process():
            return
        self.check(recipe, description, fresh)
        if self._is_run() and len(fresh) == len(recipe.stages):
            (self.path / "recipe.json").unlink()  # first, as without it the rest is no run
            for path in self._entries():
                discard(path)
        if self._is_run():
            for stage in fresh:
                self.stage(stage).remove()
            return
        lasting_folder(self.path)
        text = json.dumps(description, indent=2) + "\n"
        replace_file(self.path / "data.json", text.encode())
        recipe.save(self.path / "recipe.json")

    def _entries(self) -> list[Path]:
        """What lies in the folder, but for the lock of the process that works in it."""
        if not self.path.exists():
            return []
        return [path for path in self.path.iterdir() if path.name != LOCK]

    def _is_run(self) -> bool:
        return (self.path / "recipe.json").exists()


def load_run(run: Path, *, teacher: bool = False) -> tuple[Recipe, System]:
    """A finished run's recipe and trained system, in evaluation mode, without its teacher.

    Args:
        run: the folder.
        teacher: give the teacher instead; only its stages must be finished then.

    Raises:
        InputError: not a run folder, or a stage in it is not finished.
        UsageError: there is no teacher.
    """
    recipe = recipe_of(run)
    labels = tuple(load_data(run)["labels"])
    system = recipe.system.build(labels, recipe.tasks, recipe.image_size, None)
    asked = rewrite.teacher(system) if teacher else rewrite.deployed(system)
    for stage in recipe.stages:
        folder = RunFolder(run).stage(stage)
        if folder.is_done:
            folder.load_into(system)
        elif not teacher or set(stage.nodes) & set(asked.networks):
            raise InputError(f"{run}: stage {stage.name} is not finished; resume `ckd-train fit`")
    judged, file = (asked, TEACHER_MASK_THRESHOLD) if teacher else (system, MASK_THRESHOLD)
    asked.mask_threshold = load_mask_threshold(run / file, judged)
    return recipe, asked.eval()


def recipe_of(run: Path, hint: str = "`ckd-train fit` makes one") -> Recipe:
    """The recipe of a run, finished or not; `InputError` with ``hint`` if it is no run folder."""
    if not (run / "recipe.json").is_file():
        raise InputError(f"{run}: not a run folder (no recipe.json); {hint}")
    return load_recipe(run / "recipe.json")


def digests_of(run: Path) -> dict[str, str]:
    """What a bundle's provenance says of a run's recipe and training images.

    Raises:
        InputError: not a run folder, or it is damaged.
    """
    return {
        "recipe_digest": recipe_of(run).digest(),
        "data_digest": str(load_data(run)["digest"]),
    }


def load_data(run: Path) -> dict[str, Any]:
    """What `data.json` of a run folder holds; `InputError` if it is missing or damaged."""
    path = run / "data.json"
    try:
        description = read_json(path)
        required = {"name", "labels", "num_train", "class_counts", "digest"}
        if missing := required - set(description):
            raise ValueError(f"no {min(missing)} in it")
        if not isinstance(description, dict) or not isinstance(description["labels"], list):
            raise TypeError("not what `ckd-train fit` wrote")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train anew with --fresh") from error
    return dict(description)
