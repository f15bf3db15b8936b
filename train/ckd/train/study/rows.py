"""The rows of a study's table, gathered from what its folder holds so far."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from ckd.contract.labels import ISIC2017
from ckd.scores.metrics import mean_and_deviation
from ckd.train.fitting.crossvalidate import fold_figures
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.stage import Stage
from ckd.train.study.clock import PIECES, seconds_by_stage
from ckd.train.study.elsewhere import ELSEWHERE, areas_of
from ckd.train.study.judge import STAGES, read_stages
from ckd.train.study.pieces import shared_stages
from ckd.train.study.setting import Attempt, Candidate, Study
from ckd.train.systems.rewrite import deployed

#: Figures that candidates are compared by.
HEADLINES: Final = ("mean_auc", "fine_jaccard")


class _Times:
    """The time that stages took, by whichever attempt trained them."""

    def __init__(self, study: Study, out: Path) -> None:
        self.attempts = study.attempts()
        self.seconds = seconds_by_stage(out / PIECES)

    def of(self, attempt: Attempt, stage: str, fold: int) -> float | None:
        """Seconds of a stage, those of another attempt if it was shared; None if not timed."""
        if times := self.seconds.get((attempt.name, str(fold), stage)):
            return sum(times)
        for other in self.attempts:
            times = self.seconds.get((other.name, str(fold), stage))
            if times and stage in shared_stages(attempt.recipe, other.recipe):
                return sum(times)
        return None

    def hours(
        self, attempt: Attempt, stages: Iterable[str], folds: Collection[int]
    ) -> float | None:
        """Hours of stages on folds, None if none of them was timed."""
        known = [self.of(attempt, stage, fold) for stage in stages for fold in folds]
        spent = [seconds for seconds in known if seconds is not None]
        return sum(spent) / 3600 if spent else None


@dataclass(slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the candidate, or of the stage.
        kind: "candidate", "stage", or "members" for averaged answers.
        folds: figures by fold, of the folds that all candidates are decided on.
        later: likewise of the winner's other folds, which no mean counts.
        seeds: of a candidate of several seeds, or of an average of weights: the mean over folds of
            each seed or member, by figure.
        hours: that its training took on these folds, stages that it shares counted in; None if none
            was timed.
        parameters: millions of them in what is deployed.
        elsewhere: area under the curve by label, on another data set, mean over folds.
        left_out: figures that the candidate is not there for.
    """

    name: str
    kind: str
    folds: Mapping[int, Mapping[str, float | None]]
    later: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    seeds: list[Mapping[str, float]] = field(default_factory=list)
    hours: float | None = None
    parameters: float | None = None
    elsewhere: Mapping[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def headline(self, figure: str) -> str:
        """The figure, or for a coarse network the one that stands in place of the fine one's."""
        is_coarse = figure == "fine_jaccard" and not self.values(figure)
        return "coarse_jaccard" if is_coarse and self.kind != "candidate" else figure

    def values(self, figure: str) -> list[float]:
        """The figure of every fold that defines it; none of those that are left out."""
        if figure in self.left_out:
            return []
        return [v for fold in self.folds.values() if (v := fold.get(figure)) is not None]

    def mean(self, figure: str) -> float | None:
        """Mean over folds."""
        values = self.values(figure)
        return sum(values) / len(values) if values else None

    def worst(self, figure: str) -> float | None:
        """The lowest of the folds."""
        return min(self.values(figure), default=None)

    def spread(self, figure: str) -> float | None:
        """Standard deviation over seeds, each of which counts with its mean over folds."""
        values = [seed[figure] for seed in self.seeds if figure in seed]
        return mean_and_deviation(values)[1] if len(values) > 1 else None


def gathered(study: Study, out: Path) -> list[Row]:
    """A row for each candidate, followed by rows of its first seed's stages.

    Rows without a figure are left out.
    """
    times = _Times(study, out)
    rows: list[Row] = []
    for candidate in study.candidates:
        own = [_candidate(candidate, study, out, times)]
        own += _stages(candidate.attempts()[0], study, out, times)
        for row in own:
            row.left_out = tuple(name for name in HEADLINES if name not in candidate.figures)
        rows += own
    return [row for row in rows if row.folds]


def _candidate(candidate: Candidate, study: Study, out: Path, times: _Times) -> Row:
    of_seeds = [_whole(attempt, study, out, times) for attempt in candidate.attempts()]
    first = of_seeds[0]
    if len(of_seeds) == 1:
        return first
    return Row(
        candidate.name,
        "candidate",
        _mean_over(of_seeds),
        seeds=[
            {name: mean for name in HEADLINES if (mean := row.mean(name)) is not None}
            for row in of_seeds
            if row.folds
        ],
        hours=first.hours,
        parameters=first.parameters,
        elsewhere=_mean_of([row.elsewhere for row in of_seeds if row.elsewhere]),
    )


def _whole(attempt: Attempt, study: Study, out: Path, times: _Times) -> Row:
    folds: dict[int, Mapping[str, float | None]] = {}
    elsewhere: list[Mapping[str, float]] = []
    for k in range(study.folds):
        run = out / attempt.name / f"fold{k}"
        if (run / "evaluation" / "scores.json").exists():
            folds[k] = fold_figures(run)
        if (run / ELSEWHERE).exists() and k in study.decide_on:
            elsewhere.append(areas_of(run / ELSEWHERE))
    decided = [k for k in folds if k in study.decide_on]
    return Row(
        attempt.name,
        "candidate",
        {k: folds[k] for k in decided},
        later={k: figures for k, figures in folds.items() if k not in decided},
        hours=times.hours(attempt, [stage.name for stage in attempt.recipe.trained], decided),
        parameters=_parameters(attempt.recipe),
        elsewhere=_mean_of(elsewhere),
    )


def _stages(attempt: Attempt, study: Study, out: Path, times: _Times) -> list[Row]:
    figures: dict[int, Any] = {}
    for k in study.decide_on:
        path = out / attempt.name / f"fold{k}" / STAGES
        if path.exists():
            figures[k] = read_stages(path.parent)
    rows: list[Row] = []
    for stage in attempt.recipe.stages:
        for kind, title in (("members", f"{stage.name}: its members averaged"), ("alone", "")):
            if title and isinstance(stage, Stage) and _is_repeated(attempt.recipe, stage):
                continue  # two students of the same members
            # A study that was interrupted while it judged has not all stages yet.
            judged = {k: of.get(stage.name, {}) for k, of in figures.items()}
            folds = {k: of[kind] for k, of in judged.items() if kind in of}
            row = Row(title or stage.name, "members" if title else "stage", folds)
            row.hours = None if title else times.hours(attempt, [stage.name], folds)
            if isinstance(stage, Soup):
                row.seeds = [_means(member) for member in rows if member.name in stage.of]
            rows.append(row)
    return rows


def _is_repeated(recipe: Recipe, stage: Stage) -> bool:
    before = recipe.trained[: recipe.trained.index(stage)]
    return any(other.taught_by == stage.taught_by for other in before)


def _parameters(recipe: Recipe) -> float:
    with torch.device("meta"):
        system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
    return sum(p.numel() for p in deployed(system).parameters()) / 1e6


def _means(row: Row) -> dict[str, float]:
    names = dict.fromkeys(name for fold in row.folds.values() for name in fold)
    return {name: mean for name in names if (mean := row.mean(name)) is not None}


def _mean_over(rows: Sequence[Row]) -> dict[int, Mapping[str, float | None]]:
    """Figures of each fold, as means over the seeds that have it."""
    numbers = sorted({k for row in rows for k in row.folds})
    joined: dict[int, Mapping[str, float | None]] = {}
    for k in numbers:
        folds = [row.folds[k] for row in rows if k in row.folds]
        joined[k] = _mean_of(
            [{name: v for name, v in fold.items() if v is not None} for fold in folds]
        )
    return joined


def _mean_of(trees: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for tree in trees for name in tree)
    values = {name: [tree[name] for tree in trees if name in tree] for name in names}
    return {name: sum(column) / len(column) for name, column in values.items()}
