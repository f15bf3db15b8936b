"""Train and score a recipe on each fold of the training images, so that settings can be compared.

The validation and test images are not used. A folder holds:

    fold<k>/                the run that was trained on everything but fold k
    fold<k>/evaluation/     its scores on fold k (`ckd.train.evaluation.evaluate`)
    fold<k>/answers.npz     what it answered for fold k (`ckd.train.evaluation.held_out`)
    summary.json            the folds finished so far, their mean and standard deviation
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from ckd.console import Progress
from ckd.console.tables import text_table
from ckd.contract.cells import uncelled
from ckd.contract.disk import lasting_folder
from ckd.contract.errors import InputError, UsageError
from ckd.contract.parsing import read_json
from ckd.contract.whole_file import replace_file
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.scores.metrics import mean_and_deviation
from ckd.train.evaluation.evaluate import evaluate
from ckd.train.evaluation.held_out import ANSWERS, Collected
from ckd.train.evaluation.summary import Views
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.fitting.alone import alone_in
from ckd.train.fitting.fit import fit_alone
from ckd.train.fitting.identity import identity
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.run_folder import RunFolder, load_data
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import load_recipe

_VIEWS: Views = "1"


def crossvalidate(
    recipe: Recipe,
    data: Path,
    out: Path,
    options: FitOptions,
    *,
    folds: int,
    only: Sequence[int] | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> dict[str, Any]:
    """Train and score each fold, and return what `summary.json` holds.

    Finished folds are not repeated and an unfinished one goes on from its last epoch, so the call
    may be interrupted and repeated; with ``only`` the folds can be shared out among machines.
    Where a stage keeps its best epoch (``select="best"``), fold k chose that epoch, which makes the
    fold's scores too good; the summary names such stages.

    Args:
        recipe: to judge.
        data: folder of the data set, of which the training images are used.
        out: folder of the folds, created if missing.
        options: ``fold`` is set here; all stages are trained, in one process.
        folds: to cut the training images into, at least 2.
        only: numbers of the folds to work on now, from 0; all by default.
        progress: called after each fold.
        callbacks: of Lightning, to watch the training with.

    Raises:
        InputError: the data set lacks what a stage needs.
        UsageError: numbers that do not fit, ``out`` holds folds of other settings or data, or
            another process works on one of these folds.
    """
    numbers = _numbers(options, folds, only)
    train_set, _ = drop_unreadable(read_split(data, "train", recipe.split_by))
    held_out = [split_fold(train_set, k, folds, recipe.seed)[1] for k in range(folds)]

    def is_finished(k: int) -> bool:
        return _is_finished(out / f"fold{k}", recipe, options.weights, held_out[k])

    # All folds are checked before hours are spent: those of other settings cannot be summarised.
    repeated = numbers if options.fresh else []
    finished = [k for k in range(folds) if k not in repeated and is_finished(k)]
    for done, k in enumerate(numbers, 1):
        if k not in finished:
            folder = out / f"fold{k}"
            fold_options = replace(options, fold=(k, folds))
            with alone_in(folder):
                system = fit_alone(recipe, data, folder, fold_options, callbacks=callbacks)
                system.to(device_for(options.accelerator))
                answers = Collected(system)
                evaluate(
                    recipe, system, held_out[k], folder / "evaluation",
                    views=_VIEWS, answered=answers.add,
                )  # fmt: skip
                answers.all().save(folder / ANSWERS)
        if progress is not None:
            progress(done, len(numbers))
    # Checked again: other machines may have finished theirs meanwhile.
    scores = {k: fold_figures(out / f"fold{k}") for k in range(folds) if is_finished(k)}
    summary = {
        "recipe": recipe.name,
        "dataset": train_set.name,
        "num_images": len(train_set),
        "views": _VIEWS,
        "folds": folds,
        "chosen_on_held_out": [s.name for s in recipe.stages if s.select == "best"],
        "per_fold": [{"fold": k, **figures} for k, figures in scores.items()],
        **_mean_and_std(list(scores.values())),
    }
    lasting_folder(out)
    replace_file(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def summary_text(summary: Mapping[str, Any]) -> str:
    """What `crossvalidate` returned as a table, for a terminal: a row for each fold."""
    names = list(summary["mean"])
    scores = [(f"fold {fold['fold']}", fold) for fold in summary["per_fold"]]
    scores += [("mean", summary["mean"]), ("std", summary["std"])]
    rows = []
    for title, row in scores:
        values = (row.get(name) for name in names)
        rows.append((title, *("-" if value is None else f"{value:.3f}" for value in values)))
    lines = [
        f"{summary['recipe']} on {summary['dataset']}, {summary['num_images']} images, "
        f"{len(summary['per_fold'])} of {summary['folds']} folds finished",
        text_table(("", *names), rows, names),
    ]
    if chosen := summary["chosen_on_held_out"]:
        lines.append(f"flattered: the held-out fold chose the epoch of {', '.join(chosen)}")
    return "\n".join(lines)


def _numbers(options: FitOptions, folds: int, only: Sequence[int] | None) -> list[int]:
    if folds < 2:
        raise UsageError(f"{folds} folds leave nothing to train on; give at least 2")
    numbers = sorted(set(range(folds) if only is None else only))
    if unknown := [k for k in numbers if k not in range(folds)]:
        raise UsageError(f"no fold {unknown[0]}; {folds} folds are numbered 0 to {folds - 1}")
    if options.stage != "all":
        raise UsageError(f"cross-validation trains all stages, not only {options.stage}")
    if options.devices != 1:
        raise UsageError(
            f"cross-validation runs in one process, not on {options.devices} devices; "
            "share the folds out with --only instead"
        )
    return numbers


def _is_finished(folder: Path, recipe: Recipe, weights: Weights, held_out: SampleSet) -> bool:
    """Whether the fold was trained and scored as asked.

    Raises:
        UsageError: it was, but with other settings or on other images.
    """
    evaluation = folder / "evaluation"
    is_scored = (evaluation / "scores.json").exists() and (folder / ANSWERS).exists()
    if not is_scored or not RunFolder(folder).has_all(recipe):
        return False  # `fit` compares the settings of an unfinished fold
    table = evaluation / "per_image.csv"
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        ids = [uncelled(row.get("id") or "") for row in csv.DictReader(file)]
    differs = {
        "settings": load_recipe(folder / "recipe.json") != recipe,
        "starting weights": load_data(folder)["weights"] != identity(weights),
        "images": ids != [sample.id for sample in held_out.samples],
    }
    if names := [name for name, is_other in differs.items() if is_other]:
        raise UsageError(
            f"{folder} holds a fold of other {names[0]}; name another folder with --out, "
            "or start over with --fresh"
        )
    return True


def fold_figures(folder: Path) -> dict[str, float | None]:
    """Figures that recipes are compared by; None where a fold's images do not define one.

    Raises:
        InputError: the fold's scores are damaged.
    """
    path = folder / "evaluation" / "scores.json"
    try:
        scores = read_json(path)
        figures: dict[str, float | None] = {"num_images": scores["num_images"]}
        for kind, masks in scores["segmentation"].items():
            figures[f"{kind}_jaccard"] = masks and masks["jaccard"]
        labels = scores["classification"]
        for task in labels["tasks"] if labels else ():
            figures[f"auc_{task}"] = labels["per_label"][task]["auc"]
        figures["mean_auc"] = labels and labels["mean_auc"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged ({error!r}); remove it and repeat the command, which scores the fold "
            "again"
        ) from error
    return figures


def _mean_and_std(per_fold: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    """Of each figure, over the folds that define it."""
    names = dict.fromkeys(name for fold in per_fold for name in fold if name != "num_images")
    figures = {
        name: mean_and_deviation([v for fold in per_fold if (v := fold.get(name)) is not None])
        for name in names
    }
    return {
        "mean": {name: mean for name, (mean, _) in figures.items()},
        "std": {name: deviation for name, (_, deviation) in figures.items()},
    }
