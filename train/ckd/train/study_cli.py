"""`ckd-train study` and `ckd-train qat`: what takes hours and may be interrupted."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.contract.errors import UsageError
from ckd.contract.parsing import read_json
from ckd.train.cli_options import (
    Accelerator,
    Data,
    Fresh,
    Json,
    Settings,
    WeightsName,
    weights_named,
)


def study_command(
    study: Annotated[Path, typer.Argument(help="TOML file: candidates, folds, seeds.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    weights: WeightsName = "imagenet",
    elsewhere: Annotated[
        Path | None,
        typer.Option(help="Another data set to look at; nothing is chosen by it."),
    ] = None,
    winner: Annotated[
        str | None,
        typer.Option(help="Candidate to train on the other folds and on all images as well."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            callback=console.finite,
            help="Stop after so many minutes, at the end of an epoch.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the hours that are left, and stop.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Only make the table and picture of what is finished.")
    ] = False,
    accelerator: Accelerator = "auto",
    as_json: Json = False,
) -> None:
    """Compare candidates on the same folds; repeat the command to go on where it stopped."""
    from dataclasses import asdict

    from ckd.contract.version import built_from
    from ckd.train.study import (
        Conditions,
        load_study,
        plan_text,
        planned_pieces,
        report,
        run_study,
        table_text,
    )

    loaded = load_study(study)
    commit = built_from()
    if table and not (out / "study.json").is_file():
        raise UsageError(f"{out}: no study is there; leave out --table to begin one")
    if (commit is None or commit.endswith("-changed")) and not plan and not table:
        raise UsageError(
            "a study takes days, and its code must not change meanwhile; run it from a wheel in an "
            "environment of its own, which `make study-env AT=FOLDER` makes of the last commit"
        )
    conditions = Conditions(
        data=data,
        weights=weights_named(weights),
        out=out,
        commit=commit or "",
        elsewhere=elsewhere,
        winner=winner,
        minutes=minutes,
        accelerator=accelerator,
    )
    if plan:
        planned = planned_pieces(loaded, conditions, console.progress_bar)
        console.show(
            json.dumps([asdict(s) for s in planned]) if as_json else plan_text(planned), keep="\n"
        )
        return
    is_finished = table or run_study(loaded, conditions, console.progress_bar)
    rows = report(loaded, out)
    if as_json:
        summary = read_json(out / "summary.json")
        print(json.dumps({"finished": is_finished and not table, "rows": summary}))
    else:
        console.show(table_text(rows), keep="\n")
        console.show(out if is_finished else f"{out}: not finished; the same command goes on")


def qat_command(
    run: Annotated[Path, typer.Argument(help="Run folder of `ckd-train fit`, finished.")],
    placement: Annotated[
        Path, typer.Option(help="File of `ckd-calibrate placement`, of a bundle of this run.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to make, or to go on in.")],
    fold: Annotated[
        str | None,
        typer.Option(
            help="K/N: train inside fold K of N, counted from 0, as the run of a cross-validation "
            "was."
        ),
    ] = None,
    settings: Settings = None,
    fresh: Fresh = False,
    accelerator: Accelerator = "auto",
) -> None:
    """Train a finished run's networks as INT8 files will compute them, taught by themselves.

    Settings begin with stages.quantised, as in --set stages.quantised.epochs=2.
    """
    from ckd.train.fitting.options import FitOptions
    from ckd.train.quantised.qat import train_quantised

    inside = console.fold_of(fold)
    options = FitOptions(weights=None, fresh=fresh, fold=inside, accelerator=accelerator)
    train_quantised(run, placement, data, out, options, settings or [], console.progress_bar)
    console.show(out)
