"""Does SSD-KD help a small classifier? Its student alone and taught, with several seeds.

    python benchmarks/ssdkd_seeds.py DATA --weights FOLDER --out OUT

DATA has photographs with diagnoses in a layout that `ckd-train data check` knows. With every seed
the student is trained in three ways:

    taught  recipe ssdkd
    alone   recipe ssdkd-alone, as many epochs: it sees each photograph as often
    longer  recipe ssdkd-alone, four times the epochs: one epoch of the taught student costs several
            of these, for it sees every photograph turned four ways, and so does its teacher

All taught students have one teacher, of the first seed. The scale is that of a CPU: photographs of
96 px, a MobileNetV2 that teaches a MobileNetV2, few epochs. OUT holds a run folder for each
training with its scores on DATA's validation images, summary.json and summary.md. Repeat the
command to go on where a study was interrupted.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ckd import console
from ckd.benchmarks.markdown import table
from ckd.contract.errors import UsageError
from ckd.contract.parsing import read_json
from ckd.contract.whole_file import replace_file
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.scores.metrics import mean_and_deviation
from ckd.train.evaluation.evaluate import evaluate
from ckd.train.fitting.fit import fit
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.run_folder import load_run
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.graph import System

#: The published settings are for a GPU, photographs of 224 px and four times as many of them.
_STUDENT: Final = {"epochs": "6", "batch_size": "16"}
_TEACHER: Final = {"epochs": "20", "batch_size": "32"}
_HEAD: Final = {"epochs": "2", "batch_size": "16"}
_OPTIMISER: Final = {
    "lr": "3e-4", "encoder_lr": "3e-4", "optimizer": "adam", "weight_decay": "1e-5",
    "schedule.kind": "cosine", "stop_after": "null", "select": "last",
}  # fmt: skip


def _set(stage: str, settings: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"stages.{stage}.{name}={value}" for name, value in settings.items())


_ALONE: Final = ("image_size=96", *_set("student", _STUDENT | _OPTIMISER))
_TAUGHT: Final = (
    *_ALONE,
    "system.teacher=mobilenet_v2",
    *_set("teacher", _TEACHER | _OPTIMISER),
    *_set("teacher_head", _HEAD),
)
#: By way of training: recipe, settings, and the share of the student's epochs.
_WAYS: Final = {
    "taught": ("ssdkd", _TAUGHT, 1),
    "alone": ("ssdkd-alone", _ALONE, 1),
    "longer": ("ssdkd-alone", _ALONE, 4),
}
_FIGURES: Final = ("mean_auc", "accuracy", "balanced_accuracy")
#: None if the images do not define a figure, such as the AUC of a label that no image has.
Scores = dict[str, float | None]


def study(
    data: Annotated[Path, typer.Argument(help="Data set folder, with diagnoses.")],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    weights: Annotated[
        Path | None, typer.Option(help="Folder of starting weights; default: none.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 3,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="As in `ckd-train fit`; a teacher's go to the taught only."),
    ] = None,
) -> None:
    """Train the student alone and taught, with several seeds; write the mean and the spread."""
    samples = read_split(data, "val")
    if not samples.labels:
        raise UsageError(f"{data} has no diagnoses, which is what is compared")
    # All recipes first, so that a wrong setting costs no training.
    recipes = {(way, n): _recipe(way, n, settings or []) for n in range(seeds) for way in _WAYS}
    scores: dict[str, list[Scores]] = {way: [] for way in ("teacher", *_WAYS)}
    for (way, seed), recipe in recipes.items():
        run = out / f"{way}{seed}"
        reuse = out / "taught0" if way == "taught" and seed > 0 else None
        options = FitOptions(weights=weights, reuse=reuse)
        system = fit(recipe, data, run, options, console.progress_bar)
        scores[way].append(_scores(recipe, system, samples, run / "evaluate"))
    recipe, teacher = load_run(out / "taught0", teacher=True)
    folder = out / "taught0" / "evaluate-teacher"
    scores["teacher"].append(_scores(recipe, teacher, samples, folder))
    replace_file(out / "summary.json", (json.dumps(scores, indent=2) + "\n").encode())
    text = _summary(scores, samples)
    replace_file(out / "summary.md", text.encode())
    print(text, end="")


def _recipe(way: str, seed: int, settings: list[str]) -> Recipe:
    name, ours, share = _WAYS[way]
    theirs = [s for s in settings if way == "taught" or "teacher" not in s.partition("=")[0]]
    recipe = with_overrides(find_recipe(name), [*ours, f"seed={seed}", *theirs])
    epochs = recipe.stage("student").epochs * share
    return with_overrides(recipe, [f"stages.student.epochs={epochs}"])


def _scores(recipe: Recipe, system: System, samples: SampleSet, folder: Path) -> Scores:
    """Of the validation images, a single view of each; not computed again for the same weights."""
    kept = folder / "scores.json"
    if not kept.exists() or read_json(kept)["weights"] != system.digest():
        system.to(device_for("auto"))
        bar = console.progress_bar("images")
        evaluate(recipe, system, samples, folder, views="1", progress=bar)
    scores: dict[str, Any] = read_json(kept)["classification"]
    return {name: scores[name] for name in _FIGURES}


def _summary(scores: dict[str, list[Scores]], samples: SampleSet) -> str:
    """Mean and standard deviation (n - 1) over the seeds, and each seed's figure."""

    def cell(values: list[float | None]) -> str:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return "undefined"
        each = ", ".join(f"{value:.3f}" for value in known)
        mean, deviation = mean_and_deviation(known)
        return each if deviation is None else f"{mean:.3f} ± {deviation:.3f} ({each})"

    rows = [
        (way, *(cell([run[name] for run in runs]) for name in _FIGURES))
        for way, runs in scores.items()
    ]
    shown = table(("", *(name.replace("_", " ") for name in _FIGURES)), rows)
    return f"{samples.name}, {len(samples)} validation images, single view\n\n{shown}\n"


if __name__ == "__main__":
    console.run(lambda: typer.run(study))
