"""`ckd-train evaluate`: what a trained run is worth, for whom, and under which damage."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ckd import console
from ckd.contract.errors import UsageError
from ckd.train.cli_options import Accelerator, Data, Json

if TYPE_CHECKING:
    from ckd.data.samples import SampleSet
    from ckd.train.evaluation.judge import Judge


def evaluate_command(
    run: Annotated[Path, typer.Argument(help="Run folder of `ckd-train fit`.")],
    data: Data,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")] = "val",
    views: Annotated[
        Literal["1", "paper"],
        typer.Option(help="1: each image once. paper: averages of 5 and 6 views, as published."),
    ] = "1",
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Score the run's teacher, not what it taught.")
    ] = False,
    groups: Annotated[
        bool,
        typer.Option(
            "--groups", help="Also by label, lesion size, skin tone and hair, with intervals."
        ),
    ] = False,
    corruptions: Annotated[
        bool,
        typer.Option(
            "--corruptions", help="Instead: scores under ten kinds of damage in five grades."
        ),
    ] = False,
    kinds: Annotated[
        str, typer.Option(help="With --corruptions: some kinds only, as in blur,noise.")
    ] = "",
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Take so many images only, evenly spread over the split."),
    ] = None,
    sections: Annotated[
        Path | None,
        typer.Option(
            help="Folder of `ckd-train sections`, by which --groups and --corruptions decide."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default: <run>/evaluate, or evaluate-corruptions.")
    ] = None,
    accelerator: Accelerator = "auto",
    as_json: Json = False,
) -> None:
    """Score a trained run: official metrics, per-image scores, curves, worst cases."""
    from ckd.data.layouts import read_split
    from ckd.train.evaluation.embedding import MIN_IMAGES
    from ckd.train.evaluation.evaluate import evaluate
    from ckd.train.evaluation.judge import Judge
    from ckd.train.evaluation.robustness import checked_kinds, spread
    from ckd.train.feeding.dataset import drop_unreadable
    from ckd.train.fitting.alone import alone_in
    from ckd.train.fitting.machine import device_for
    from ckd.train.fitting.run_folder import digests_of, load_run

    _check_options(groups, corruptions, views, kinds, sections)
    chosen = checked_kinds([name.strip() for name in kinds.split(",")] if kinds else [])
    recipe, system = load_run(run, teacher=teacher)
    listed = spread(read_split(data, split, recipe.split_by, console.say), images)
    samples, problems = drop_unreadable(listed, console.progress_bar("files"))
    for problem in problems:
        console.say(f"left out: {problem}")
    system.to(device_for(accelerator))
    folder = out or run / (
        "evaluate"
        + ("-teacher" if teacher else "")
        + ("" if views == "1" else "-paper-views")
        + ("-corruptions" if corruptions else "")
    )
    if corruptions:
        with alone_in(folder):
            judge = Judge(system, sections, digests_of(run))
            _corruptions(recipe.name, judge, samples, chosen, folder, as_json)
        return
    with alone_in(folder):
        # First of all, as it refuses sections that do not fit.
        by_groups = Judge(system, sections, digests_of(run)) if groups else None
        result = evaluate(
            recipe, system, samples, folder, views=views, progress=console.progress_bar("images")
        )
        tree, text = result.as_dict(), result.to_text()
        if by_groups is not None:
            by_group, table = _groups(recipe.name, by_groups, samples, folder)
            tree, text = {**tree, "groups": by_group}, f"{text}\n\n{table}"
    console.show(json.dumps(tree) if as_json else text, keep="\n")
    if not (folder / "tsne.png").exists():
        needed = f"a classifier and {MIN_IMAGES} images with labels"
        console.say(f"no tsne.png: it takes {needed}")
    console.say(f"details: {folder}")


def _check_options(
    groups: bool, corruptions: bool, views: str, kinds: str, sections: Path | None
) -> None:
    """Raise `UsageError` for options that do not go together."""
    if kinds and not corruptions:
        raise UsageError("--kinds chooses among kinds of damage; give --corruptions with it")
    if sections is not None and not (groups or corruptions):
        raise UsageError("--sections decides for --groups or --corruptions; give one of them")
    if groups and corruptions:
        raise UsageError("--groups counts undamaged images; run it and --corruptions in turn")
    if views != "1" and (groups or corruptions):
        raise UsageError("--groups and --corruptions take a single view; leave --views out")


def _groups(
    recipe: str, judge: "Judge", samples: "SampleSet", folder: Path
) -> tuple[list[dict[str, Any]], str]:
    """Measure and write groups; what is printed of them, as JSON and as text."""
    from ckd.console.tables import text_table
    from ckd.scores.groups import group_table
    from ckd.train.evaluation.subgroups import measure_groups, write_groups

    grouped = measure_groups(judge, samples, console.progress_bar("groups"))
    about, sentence = judge.about(recipe, samples), judge.sentence(recipe, samples)
    write_groups(grouped, judge.target, folder, about, sentence)
    table = text_table(*group_table(grouped.scores, judge.target))
    return [score.as_dict() for score in grouped.scores], table


def _corruptions(
    recipe: str,
    judge: "Judge",
    samples: "SampleSet",
    kinds: Sequence[str],
    folder: Path,
    as_json: bool,
) -> None:
    from ckd.train.evaluation.robustness import measure_robustness
    from ckd.train.evaluation.robustness_folder import write_robustness
    from ckd.train.evaluation.robustness_report import (
        robustness_dict,
        robustness_terminal,
        summaries,
    )

    measured = measure_robustness(judge, samples, kinds, console.progress_bar("images"))
    summary = summaries(measured)
    about, sentence = judge.about(recipe, samples), judge.sentence(recipe, samples)
    write_robustness(measured, summary, samples.samples[0], folder, about, sentence)
    tree = {**about, **robustness_dict(measured, summary)}
    console.show(
        json.dumps(tree) if as_json else robustness_terminal(measured, summary, sentence), keep="\n"
    )
    console.say(f"details: {folder}")
