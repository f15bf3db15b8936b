"""The part of a model card that says how a network was chosen and made in a study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json
from ckd.train.fitting.run_folder import recipe_of
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.stage import Stage

TITLE: Final = "## How it was made"
#: Figure -> its title in a table, in the order of the columns.
_FIGURES: Final = {
    "mean_auc": "mean AUC",
    "auc_MEL": "AUC MEL",
    "auc_SBK": "AUC SBK",
    "fine_jaccard": "Jaccard",
    "coarse_jaccard": "coarse Jaccard",
}
_INTERVALS: Final = {
    "mean_auc": ("classification", None),
    "fine_jaccard": ("segmentation", "fine"),
}


def is_of_study(run: Path) -> bool:
    """Whether a run is that of a study's winner, trained on all images."""
    run = run.resolve()
    return run.name == "all" and (run.parent.parent / "study.json").is_file()


def study_section(run: Path) -> str:
    """Markdown: stages of the run, its folds with intervals, and every candidate of the study.

    Args:
        run: folder `<study>/<candidate>/all` of a finished study.

    Raises:
        InputError: a file of the study is missing or damaged.
    """
    run = run.resolve()
    study = run.parent.parent
    try:
        about = read_json(study / "study.json")
        rows = read_json(study / "summary.json")
        commit, folds = about["ground"]["commit"], about["ground"]["folds"]
        lines = [TITLE, "", *_stages(recipe_of(run)), "", *_folds(run.parent, folds), ""]
        lines += _candidates(rows, folds)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{study}: cannot be read as a study ({error!r}); `ckd-train study --table` makes the "
            "table anew"
        ) from error
    lines += ["", f"Trained and chosen by commit {commit}, by the training images alone."]
    return "\n".join(lines)


def _stages(recipe: Recipe) -> list[str]:
    """A line for each stage, in the order of training."""
    lines = []
    for stage in recipe.stages:
        if isinstance(stage, Soup):
            what = f"average of the weights of {', '.join(stage.of)}"
            if stage.select == "best":
                what += " (greedy)"
        else:
            what = _training(stage)
        lines.append(f"- `{stage.name}`: {what}")
    return lines


def _training(stage: Stage) -> str:
    seed = "" if stage.seed is None else f", seed {stage.seed}"
    teachers = ""
    if stage.taught_by:
        teachers = f", taught by {', '.join(stage.taught_by)}"
    mixing = f", images mixed (alpha {stage.mixup:g})" if stage.mixup else ""
    start = "" if stage.start is None else f", from {stage.start}"
    return f"{stage.epochs} epochs{seed}{start}{teachers}{mixing}"


def _folds(candidate: Path, folds: int) -> list[str]:
    """A table of the candidate's folds with bootstrap intervals."""
    lines = [
        f"Cross-validation inside the training images, {folds} folds that keep lesions and "
        "near-duplicates together (95 % bootstrap intervals over images):",
        "",
        "| fold | images | mean AUC | Jaccard, fine mask |",
        "|---|---|---|---|",
    ]
    for k in range(folds):
        path = candidate / f"fold{k}" / "evaluation" / "scores.json"
        if path.exists():
            scores = read_json(path)
            cells = [_with_interval(scores, figure) for figure in _INTERVALS]
            lines.append(f"| {k} | {scores['num_images']} | {' | '.join(cells)} |")
    return lines


def _with_interval(scores: Mapping[str, Any], figure: str) -> str:
    part, kind = _INTERVALS[figure]
    of = scores[part] if kind is None else scores[part][kind]
    if of is None:
        return "-"
    name = figure if kind is None else figure.removeprefix(f"{kind}_")
    value, (low, high) = of[name], of["interval_95"][name]
    if value is None or low is None:
        return "-"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _candidates(rows: list[Mapping[str, Any]], folds: int) -> list[str]:
    """Every candidate and its stages, as means over the folds that all were decided on."""
    elsewhere = list(dict.fromkeys(name for row in rows for name in row["elsewhere"]))
    titles = [*_FIGURES.values(), *(f"{name} elsewhere" for name in elsewhere)]
    lines = [
        "Every candidate (bold) and stage that was looked at, means over its folds. What is called "
        "elsewhere is another data set, by which nothing was chosen:",
        "",
        f"| | folds | {' | '.join(titles)} | hours |",
        "|---|" + "---|" * (len(titles) + 2),
    ]
    for row in rows:
        figures = list(row["folds"].values())
        cells = []
        for name in _FIGURES:
            values = [fold[name] for fold in figures if fold.get(name) is not None]
            values = [] if name in row["left_out"] else values
            cells.append(f"{sum(values) / len(values):.3f}" if values else "")
        cells += [_three(row["elsewhere"].get(name)) for name in elsewhere]
        name = f"**{row['name']}**" if row["kind"] == "candidate" else row["name"]
        hours = "" if row["hours"] is None else f"{row['hours']:.1f}"
        lines.append(f"| {name} | {len(figures)} of {folds} | {' | '.join(cells)} | {hours} |")
    return lines


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
