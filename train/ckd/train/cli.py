"""`ckd-train`: check data, train a recipe stage by stage, evaluate, cross-validate."""

import inspect
import json
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.contract.errors import GateFailed, UsageError
from ckd.train.capture_cli import capture_command
from ckd.train.cli_options import (
    Accelerator,
    Data,
    Devices,
    Fresh,
    Json,
    RecipeName,
    Settings,
    WeightsName,
    Workers,
    weights_named,
)
from ckd.train.evaluate_cli import evaluate_command
from ckd.train.sections_cli import sections_command
from ckd.train.study_cli import qat_command, study_command

cli = console.app("Train a cascade stage by stage, and measure it by the official ISIC scores.")
data_cli = console.group("Look at a data set before training on it.")
cli.add_typer(data_cli, name="data")
cli.command("evaluate")(evaluate_command)
cli.command("study")(study_command)
cli.command("qat")(qat_command)
cli.command("sections")(sections_command)
cli.command("capture")(capture_command)


@cli.command("fit")
def fit_command(
    recipe: RecipeName,
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/train/<recipe>.")
    ] = None,
    stage: Annotated[str, typer.Option(help="Train one stage only, by name.")] = "all",
    weights: WeightsName = "imagenet",
    settings: Settings = None,
    fresh: Fresh = False,
    reuse: Annotated[
        Path | None,
        typer.Option(help="Take finished stages from this run where they would be the same."),
    ] = None,
    devices: Devices = 1,
    workers: Workers = None,
    accelerator: Accelerator = "auto",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be done with each stage, and stop. Fetches starting weights.",
        ),
    ] = False,
) -> None:
    """Train a recipe, or go on where an interrupted run stopped: repeat the same command.

    With --stage, --fresh starts that stage and those after it over, and keeps the earlier ones.
    """
    from ckd.console.tables import print_table
    from ckd.train.evaluation.learning_curves import learning_curves
    from ckd.train.fitting.fit import fit, planned
    from ckd.train.fitting.options import FitOptions
    from ckd.train.recipes.catalogue import find_recipe
    from ckd.train.recipes.text import with_overrides

    chosen = with_overrides(find_recipe(recipe), settings or [])
    run = out or Path("runs/train") / chosen.name
    options = FitOptions(
        weights=weights_named(weights),
        stage=stage,
        fresh=fresh,
        reuse=reuse,
        accelerator=accelerator,
        devices=devices,
        num_workers=workers,
    )
    if dry_run:
        steps = planned(chosen, data, run, options, console.progress_bar)
        rows = [(step.stage.name, step.action, step.reason) for step in steps]
        print_table(("stage", "action", "reason"), rows)
        return
    fit(chosen, data, run, options, console.progress_bar)
    if console.is_first_process():
        learning_curves(run)
        console.show(run)


@cli.command("crossvalidate")
def crossvalidate_command(
    recipe: RecipeName,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the folds' runs.")],
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    only: Annotated[
        list[int] | None, typer.Option(help="Run this fold only, counted from 0; repeatable.")
    ] = None,
    weights: WeightsName = "imagenet",
    settings: Settings = None,
    fresh: Fresh = False,
    accelerator: Accelerator = "auto",
    as_json: Json = False,
) -> None:
    """Train and score on folds inside the training images; the val split stays untouched."""
    from ckd.train.fitting.crossvalidate import crossvalidate, summary_text
    from ckd.train.fitting.options import FitOptions
    from ckd.train.recipes.catalogue import find_recipe
    from ckd.train.recipes.text import with_overrides

    summary = crossvalidate(
        with_overrides(find_recipe(recipe), settings or []),
        data,
        out,
        FitOptions(weights=weights_named(weights), fresh=fresh, accelerator=accelerator),
        folds=folds,
        only=only,
        progress=console.progress_bar("folds"),
    )
    console.show(json.dumps(summary) if as_json else summary_text(summary), keep="\n")


@cli.command("recipes")
def recipes_command(as_json: Json = False) -> None:
    """List the recipes and what each should give."""
    from dataclasses import asdict

    from ckd.train.recipes.catalogue import RECIPES

    if as_json:
        print(json.dumps({name: asdict(make()) for name, make in RECIPES.items()}))
        return
    for name, make in RECIPES.items():
        console.show(f"{name}\n{textwrap.indent(inspect.getdoc(make) or '', '    ')}\n", keep="\n")


@cli.command("backbones")
def backbones_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Encoders; default: those meant for devices.")
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, help="Side of the image in pixels, a multiple of 32.")
    ] = 192,
    measured: Annotated[
        Path | None,
        typer.Option(help="A backbones.json of `ckd-bench backbones --out`: adds its columns."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List encoders: parameters, multiply-accumulates, and whether they can be cut."""
    from ckd.console.tables import print_table
    from ckd.train.networks.survey import (
        DEVICE_BACKBONES,
        encoder_cost,
        read_measured,
        survey_table,
        survey_tree,
    )

    if size % 32:
        raise UsageError(f"--size {size}: the encoders halve it five times; try {size // 32 * 32}")
    rows = {} if measured is None else read_measured(measured, size)
    chosen = names or list(DEVICE_BACKBONES)
    progress = console.progress_bar("encoders")
    costs = []
    for done, name in enumerate(chosen):
        progress(done, len(chosen))
        costs.append(encoder_cost(name, size))
    progress(len(chosen), len(chosen))
    if as_json:
        print(json.dumps(survey_tree(costs, rows)))
        return
    print_table(*survey_table(costs, rows))
    for cost in costs:
        if cost.refusal:
            console.say(cost.refusal)
    if not rows:
        console.say("time, export and INT8: `ckd-bench backbones --out FOLDER` measures them")


@data_cli.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Data set folder.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the pictures of masks to look at, if there are any.")
    ] = Path("runs/check"),
    as_json: Json = False,
) -> None:
    """Report counts, class balance and every file that would spoil a training."""
    from ckd.data.check import check_dataset

    report = check_dataset(folder, progress=console.progress_bar("files"))
    console.show(json.dumps(report.as_dict()) if as_json else report.to_text(), keep="\n")
    if report.suspects:
        from ckd.train.evaluation.suspects_sheet import write_suspects

        console.say(f"masks to look at: {write_suspects(report, out)}")
    if report.has_errors:
        raise GateFailed(f"{folder}: mend the errors above before training")


@data_cli.command("generate")
def data_generate(
    out: Annotated[Path, typer.Argument(help="Folder to create.")],
    num_train: Annotated[int, typer.Option(min=1)] = 60,
    num_val: Annotated[int, typer.Option(min=1)] = 20,
    side_px: Annotated[int, typer.Option(min=32)] = 256,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Write generated dermoscopy images in the ISIC 2017 layout, to try everything out."""
    from ckd.data.synthetic.write import write_isic2017

    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; name another folder")
    write_isic2017(out, num_train=num_train, num_val=num_val, side_px=side_px, seed=seed)
    console.show(out)


def main() -> None:
    """Entry point of `ckd-train`."""
    console.run(cli)


if __name__ == "__main__":
    main()
