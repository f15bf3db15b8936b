"""How long a study will take: measured before it begins, a few batches of each kind of stage."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median

import torch

from ckd.console import Bars, no_bars
from ckd.console.tables import text_table
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.train.feeding.dataset import EpochBatches, TrainingViews, training_loader
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.run_folder import RunFolder
from ckd.train.fitting.stage_data import class_counts, for_stage
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.stage import Stage
from ckd.train.study.clock import PIECES, seconds_by_stage
from ckd.train.study.folder import Conditions
from ckd.train.study.pieces import pieces_of, sharing
from ckd.train.study.setting import Study
from ckd.train.systems.graph import System
from ckd.train.systems.members import with_members

#: Batches of a stage that are timed, after one that is not.
_TIMED = 3


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage of one attempt on one fold.

    Attributes:
        attempt: name of the attempt.
        fold: number of the fold, or "all".
        stage: its name.
        state: "done", "shared" with an earlier attempt, "begun" or "to do".
        minutes: that are left, without those of finished epochs.
    """

    attempt: str
    fold: str
    stage: str
    state: str
    minutes: float


def planned_pieces(study: Study, settings: Conditions, bars: Bars = no_bars) -> list[PlannedStage]:
    """What is left of a study, stage by stage, with the time that it will take here.

    The time of an epoch is the median of those that the study's folder knows of the same stage of
    any fold; stages that never ran are timed for a few batches. Scoring and averaging weights are
    not counted. Nothing is written.
    """
    pieces = pieces_of(study, settings.winner)
    train_set = read_split(settings.data, "train", study.split_by)
    times = _Times(seconds_by_stage(settings.out / PIECES), device_for(settings.accelerator))
    planned = []
    bar = bars("time the stages")
    for number, piece in enumerate(pieces):
        recipe, name, fold = piece.attempt.recipe, piece.attempt.name, piece.fold_name
        images = train_set
        if piece.fold is not None:
            images, _ = split_fold(train_set, piece.fold, study.folds, recipe.seed)
        run = RunFolder(piece.run(settings.out))
        _, shared = sharing(piece, pieces[:number])
        for stage in recipe.stages:
            epochs = len(times.known.get((name, fold, stage.name), ()))
            minutes = 0.0
            if run.stage(stage).state().is_done:
                state = "done"
            elif stage.name in shared:
                state = "shared"
            else:
                state = "begun" if epochs else "to do"
                if isinstance(stage, Stage):
                    left = max(0, stage.epochs - epochs)
                    minutes = left * times.seconds(name, recipe, stage, images) / 60
            planned.append(PlannedStage(name, fold, stage.name, state, minutes))
        bar(number + 1, len(pieces))
    return planned


class _Times:
    """Seconds of an epoch, known from the study's folder or measured, each kind of step once."""

    def __init__(self, known: Mapping[tuple[str, str, str], list[float]], device: str) -> None:
        self.known, self.device = known, device
        self.measured: dict[str, float] = {}

    def seconds(self, attempt: str, recipe: Recipe, stage: Stage, images: SampleSet) -> float:
        """Of an epoch of the stage."""
        epochs = [
            second
            for (name, _, known_stage), seconds in self.known.items()
            if (name, known_stage) == (attempt, stage.name)
            for second in seconds
        ]
        if epochs:
            return median(epochs)
        kind = f"{recipe.system} {recipe.image_size} {recipe.precision} {_kind(stage)}"
        if kind not in self.measured:
            self.measured[kind] = seconds_of_a_batch(recipe, stage, images, self.device)
        return len(for_stage(images, stage)) / stage.batch_size * self.measured[kind]


def seconds_of_a_batch(recipe: Recipe, stage: Stage, images: SampleSet, device: str) -> float:
    """Median time of a training step with the loading of its images, on random weights."""
    system = _system(recipe, stage, images).to(device)
    for name, network in system.networks.items():
        network.requires_grad_(name in stage.nodes)
        network.train(name in stage.nodes)
    samples = for_stage(images, stage)
    classes = class_counts(samples)
    views = TrainingViews(samples, stage.augmentation, recipe.image_size, 0, stage.needs)
    batches = EpochBatches(len(views), stage.batch_size, 0, 0, 0, 1)
    trained = [p for name in stage.nodes for p in system.networks[name].parameters()]
    optimizer = torch.optim.Adam(trained)
    system.to(memory_format=torch.channels_last)
    autocast = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(recipe.precision)
    times = []
    began = time.perf_counter()
    for batch in islice(training_loader(views, batches, 0), _TIMED + 1):
        on_device = {key: value.to(device) for key, value in batch.items()}
        with torch.autocast(device, autocast, enabled=autocast is not None):
            tensors = system(on_device["image"], stage.tensors())
        loss = sum(
            (term.weight * term(tensors, on_device, classes) for term in stage.losses),
            torch.zeros((), device=device),
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
    return median(times[1:] or times)


def plan_text(planned: Sequence[PlannedStage]) -> str:
    """The plan as a table: a row for each attempt and fold, and the hours in all."""
    rows: dict[tuple[str, str], list[PlannedStage]] = {}
    for stage in planned:
        rows.setdefault((stage.attempt, stage.fold), []).append(stage)
    table = []
    for (attempt, fold), stages in rows.items():
        states = [stage.state for stage in stages]
        counts = ", ".join(
            f"{states.count(state)} {state}"
            for state in ("done", "shared", "begun", "to do")
            if state in states
        )
        longest = max(stages, key=lambda stage: stage.minutes)
        piece = f"{longest.stage} {longest.minutes:.0f} min" if longest.minutes else ""
        hours = sum(stage.minutes for stage in stages) / 60
        table.append((attempt, fold, counts, piece, f"{hours:.2f}"))
    total = sum(stage.minutes for stage in planned) / 60
    return (
        text_table(("attempt", "fold", "stages", "longest", "hours left"), table, ("hours left",))
        + f"\n{total:.1f} hours left on this machine, without scoring and averaging"
    )


def _system(recipe: Recipe, stage: Stage, images: SampleSet) -> System:
    system = recipe.system.build(images.labels, recipe.tasks, recipe.image_size, None)
    members = [system.states(recipe.any_stage(name).nodes) for name in stage.taught_by]
    return with_members(system, members) if members else system


def _kind(stage: Stage) -> Stage:
    """The stage without what does not change the time of a step."""
    return replace(
        stage, name="", seed=None, start=None, epochs=1,
        taught_by=("",) * len(stage.taught_by),
    )  # fmt: skip
