"""Everything that a training needs, and its plan: read and built before the run folder is touched.

`prepare` raises what speaks against the training, so that no hours are lost and no half-made folder
is left. It writes nothing.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from ckd.console import Bars, is_first_process
from ckd.contract.errors import UsageError
from ckd.data.samples import SampleSet, numbered_as
from ckd.train.fitting.identity import describe, digest, ground_of
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.plan import Facts, StagePlan, fresh_stages, plan
from ckd.train.fitting.reuse import offers
from ckd.train.fitting.run_folder import RunFolder
from ckd.train.fitting.stage_data import check_shares, read_data
from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.recipes.recipe import AnyStage, Recipe
from ckd.train.recipes.stage import Stage
from ckd.train.systems.graph import System
from ckd.train.systems.members import with_members


@dataclass(frozen=True)
class Training:
    """A training that can begin.

    Attributes:
        recipe: to be trained.
        run: folder of the run.
        system: all networks; the stages' weights are loaded into it one by one.
        train_set: training images, their labels numbered as the system's are.
        val_set: images to watch the training on, or None.
        description: what `data.json` says of images and starting weights.
        fresh: stages to start over.
        built: weights that networks of several stages were built with, by name.
    """

    recipe: Recipe
    run: RunFolder
    system: System
    train_set: SampleSet
    val_set: SampleSet | None
    description: dict[str, Any]
    fresh: Sequence[AnyStage]
    built: Mapping[str, Mapping[str, Tensor]]

    def ground(self, stage: AnyStage, folders: Mapping[str, StageFolder]) -> str:
        """What the stage rests on, given the weights that the system has now.

        Args:
            stage: of the recipe.
            folders: of earlier stages, by name.
        """
        before = self.recipe.stages[: self.recipe.stages.index(stage)]
        trained = {node for earlier in before for node in earlier.nodes} - {*stage.nodes}
        return ground_of(
            self.system.digest(trained),
            self._val_digest if stage.select == "best" else None,
            {name: folders[name].digest() for name in stage.rests_on()},
        )

    def own_ground(self, stage: AnyStage) -> str:
        """What the stage rests on, with the earlier stages as they lie in the run's folder."""
        return self.ground(stage, {s.name: self.run.stage(s) for s in self.recipe.stages})

    def members(self, names: Sequence[str]) -> list[dict[str, dict[str, Tensor]]]:
        """Weights of finished stages of the run."""
        return [self.run.stage(self.recipe.any_stage(name)).networks() for name in names]

    def set_start(self, stage: Stage) -> None:
        """Give the stage's networks the weights that the stage starts from."""
        start = self.built if stage.start is None else self.members((stage.start,))[0]
        for name in stage.nodes:
            if name in start:  # networks of one stage still are as they were built
                self.system.networks[name].load_state_dict(start[name])

    @cached_property
    def _val_digest(self) -> str | None:
        return None if self.val_set is None else digest(self.val_set)


def prepare(
    recipe: Recipe, data: Path, out: Path, options: FitOptions, bars: Bars
) -> tuple[Training, list[StagePlan]]:
    """Read the images, build the system, and plan what is done with each stage.

    Errors are those of `ckd.train.fitting.fit.fit`.
    """
    device_for(options.accelerator, options.devices)
    asked = options.stages(recipe)
    train_set, val_set = read_data(recipe, asked, data, options.fold, bars)
    check_shares(asked, train_set, val_set, options.devices)
    seed_quietly(recipe)
    system = recipe.system.build(train_set.labels, recipe.tasks, recipe.image_size, options.weights)
    _check_nodes(recipe, system)
    # Other processes start after the first has emptied the folder.
    fresh = options.fresh and is_first_process()
    exclusive = system.outputs.exclusive
    training = Training(
        recipe,
        RunFolder(out),
        system,
        numbered_as(system.labels, train_set, exclusive=exclusive),
        None if val_set is None else numbered_as(system.labels, val_set, exclusive=exclusive),
        describe(train_set, options.weights),
        fresh_stages(recipe, asked, fresh),
        _as_built(recipe, system),
    )
    if is_first_process():
        training.run.check(recipe, training.description, training.fresh)
    return training, _plan(training, asked, fresh, options)


def seed_quietly(recipe: Recipe) -> None:
    """Seed everything with the recipe's seed; Lightning is silent from now on."""
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # our own lines say what happens
    pl.seed_everything(recipe.seed, workers=True, verbose=False)


def _plan(
    training: Training, asked: Sequence[AnyStage], fresh: bool, options: FitOptions
) -> list[StagePlan]:
    recipe, run, system = training.recipe, training.run, training.system
    facts = Facts(
        run=run.path,
        states={stage.name: run.stage(stage).state() for stage in recipe.stages},
        stages=asked,
        fresh=fresh,
        reused=options.reuse,
        offers={}
        if options.reuse is None
        else offers(options.reuse, recipe, training.description, system, options.weights),
    )
    loaded: list[StageFolder] = []

    def ground(stage: AnyStage, sources: Sequence[StageFolder]) -> str:
        for source in sources[len(loaded) :]:
            source.load_into(system)
            loaded.append(source)
        return training.ground(stage, {source.name: source for source in loaded})

    return plan(recipe, facts, ground)


def _as_built(recipe: Recipe, system: System) -> dict[str, dict[str, Tensor]]:
    """Copies of the weights of networks that several stages train."""
    trained = Counter(node for stage in recipe.stages for node in stage.nodes)
    return {
        name: {key: value.clone() for key, value in system.networks[name].state_dict().items()}
        for name, times in trained.items()
        if times > 1
    }


def _check_nodes(recipe: Recipe, system: System) -> None:
    for stage in recipe.stages:
        if unknown := set(stage.nodes) - set(system.networks):
            raise UsageError(
                f"stage {stage.name}: {system.name} has no node {min(unknown)!r}; expected "
                f"{', '.join(system.networks)}"
            )
        taught_by = stage.taught_by if isinstance(stage, Stage) else ()
        members = [system.states(recipe.any_stage(name).nodes) for name in taught_by]
        joined = with_members(system, members) if members else system
        joined.needed(stage.tensors())
    trained = {name for stage in recipe.stages for name in stage.nodes}
    if forgotten := set(system.networks) - trained:
        raise UsageError(
            f"recipe {recipe.name}: no stage trains {', '.join(sorted(forgotten))}; "
            "its weights would be lost"
        )
