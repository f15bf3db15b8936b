"""`ckd-bench accuracy`, `ckd-bench backbones` and `ckd-bench compare`."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from ckd import console
from ckd.benchmarks.machine import public_command
from ckd.benchmarks.measure import MOST_RUNS
from ckd.console.options import MOST_THREADS
from ckd.console.tables import print_table
from ckd.contract.errors import UsageError
from ckd.runtime.cpu import usable_cores

Warmup = Annotated[
    int, typer.Option(min=0, max=MOST_RUNS, help="Calls before these that do not count.")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_THREADS, help="CPU threads; default: all usable cores."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def accuracy_command(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundle folders or zips; default: the embedded one.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data set with masks, labels or both.")] = None,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")] = "val",
    backend: Annotated[
        str, typer.Option(help="onnxruntime, openvino, tensorrt, or auto.")
    ] = "onnxruntime",
    device: Annotated[str, typer.Option(help="As in `ckd-run`.")] = "auto",
    precision: Annotated[
        list[str] | None,
        typer.Option(help="As in `ckd-run`; repeatable, every bundle in each. [default: fp32]"),
    ] = None,
    changes: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what the second of two bundles, or of two precisions, says otherwise "
            "than the first, image by image (changes.csv, changes.md)."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score deployed bundles by the official ISIC scores, each as a device would run it."""
    from ckd.benchmarks.accuracy import accuracy, accuracy_table
    from ckd.data.layouts import read_unseen
    from ckd.data.samples import numbered_as
    from ckd.runtime.cascade import Cascade

    if data is None:
        raise UsageError("--data is missing: the folder of a data set, see `ckd-train data check`")
    chosen: list[Path | None] = list(bundles) if bundles else [None]
    precisions = precision or ["fp32"]
    if changes is not None:
        if len(chosen) * len(precisions) != 2:
            raise UsageError(
                f"--changes compares two bundles, or one in two precisions, got {len(chosen)} in "
                f"{', '.join(precisions)}; name both"
            )
        console.make_folder(changes)
    with ExitStack() as stack:
        # All are opened before the first is scored, so that a wrong one costs no scoring.
        cascades = [
            stack.enter_context(Cascade.load(path, backend, device, one))
            for path in chosen
            for one in precisions
        ]
        specs = [cascade.spec for cascade in cascades]
        samples = read_unseen(data, split, specs, console.say)
        for spec in specs:
            numbered_as(spec.labels, samples, exclusive=spec.outputs.exclusive)
        accuracies = [
            accuracy(cascade, samples, console.progress_bar(cascade.spec.name))
            for cascade in cascades
        ]
    if changes is not None:
        from ckd.benchmarks.changes import changes as changes_of
        from ckd.benchmarks.changes import write_changes

        first, second = accuracies
        rows = changes_of(first.scores, second.scores, (specs[0], specs[1]))
        names = [
            spec.name if len(precisions) == 1 else f"{spec.name} in {one}"
            for spec, one in zip(specs, precisions * 2, strict=False)
        ]
        write_changes(rows, (names[0], names[1]), changes)
    if as_json:
        print(json.dumps([one.as_dict() for one in accuracies]))
        return
    console.show(f"{samples.name} {split}, {len(samples)} images, single view\n", keep="\n")
    print_table(*accuracy_table(accuracies))


def backbones_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Encoders; default: those of `ckd-train backbones`.")
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, help="Side of the networks' input in pixels, a multiple of 32.")
    ] = 192,
    runs: Annotated[
        int, typer.Option(min=1, max=MOST_RUNS, help="Timed calls of every cascade.")
    ] = 50,
    warmup: Warmup = 5,
    threads: Threads = None,
    out: Annotated[
        Path | None, typer.Option(help="Write backbones.json and backbones.md here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export, quantise and time a cascade on each encoder, with untrained weights."""
    from ckd.benchmarks import backbones
    from ckd.train.networks.survey import DEVICE_BACKBONES

    if out is not None:
        console.make_folder(out)
    report = backbones.measure_backbones(
        names or DEVICE_BACKBONES,
        image_size=size,
        threads=threads or usable_cores(),
        warmup=warmup,
        runs=runs,
        command=public_command("ckd-bench", sys.argv[1:]),
        progress=console.progress_bar("encoders"),
    )
    if out is not None:
        written = backbones.write_backbones(report, out)
        console.say(f"wrote {', '.join(written)} to {out}")
    console.show(
        backbones.to_json(report) if as_json else backbones.to_markdown(report), end="", keep="\n"
    )


def compare_command(
    run: Annotated[Path | None, typer.Option(help="Run folder of `ckd-train fit`.")] = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            help="Bundle of that run; default: made anew, with --calibration in INT8 too. "
            "Without a run: bundles to set side by side, repeatable."
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare a recipe's networks with untrained weights instead; several are set side "
            "by side."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of images that INT8 files are made by.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data set whose validation images judge the accuracy.")
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            help="K/N: judge by fold K of N of the training images, which a run inside it has not "
            "seen; goes with --run."
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, max=MOST_RUNS, help="Timed calls of every entrant.")
    ] = 50,
    warmup: Warmup = 5,
    threads: Threads = None,
    out: Annotated[
        Path | None, typer.Option(help="Write compare.json, compare.md and compare.png here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time every backend and precision, PyTorch, and what one would build by hand, in one run.

    Or several bundles and untrained recipes side by side: size, time and, with --data, what the
    bundles score.
    """
    bundles, recipes = bundle or [], recipe or []
    if fold is not None and (run is None or data is None):
        raise UsageError("--fold goes with --run and --data: it says what images judge a run")
    if run is None and (bundles or len(recipes) > 1):
        if calibration is not None:
            raise UsageError(
                "--calibration makes INT8 files of a run; bundles are taken as they are"
            )
        from ckd.benchmarks import side_by_side_report
        from ckd.benchmarks.side_by_side import systems_side_by_side

        if out is not None:
            console.make_folder(out)
        sides = systems_side_by_side(
            bundles,
            recipes,
            data,
            threads=threads or usable_cores(),
            warmup=warmup,
            runs=runs,
            command=public_command("ckd-bench", sys.argv[1:]),
            progress=console.progress_bar("calls"),
        )
        if out is not None:
            written = side_by_side_report.write_side_by_side(sides, out)
            console.say(f"wrote {', '.join(written)} to {out}")
        report = side_by_side_report
        console.show(
            report.to_json(sides) if as_json else report.to_markdown(sides), end="", keep="\n"
        )
        return
    from ckd.benchmarks import compare_report
    from ckd.benchmarks.compare_run import compare_run

    if (run is None) == (not recipes):
        raise UsageError("give either --run or --recipe, or one --bundle or more")
    if len(bundles) > 1:
        raise UsageError("a run is compared with one bundle of it; give one --bundle")
    if out is not None:
        console.make_folder(out)
    comparison = compare_run(
        run=run,
        recipe=recipes[0] if recipes else None,
        bundle=bundles[0] if bundles else None,
        calibration=calibration,
        data=data,
        fold=console.fold_of(fold),
        threads=threads or usable_cores(),
        warmup=warmup,
        runs=runs,
        command=public_command("ckd-bench", sys.argv[1:]),
        progress=console.progress_bar("calls"),
    )
    if out is not None:
        written = compare_report.write_comparison(comparison, out)
        console.say(f"wrote {', '.join(written)} to {out}")
    console.show(
        compare_report.to_json(comparison) if as_json else compare_report.to_markdown(comparison),
        end="",
        keep="\n",
    )
