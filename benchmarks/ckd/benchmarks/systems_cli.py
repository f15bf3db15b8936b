"""`ckd-bench accuracy`, and what `ckd-bench compare` does with several bundles."""

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from ckd import console
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.runtime.cpu import usable_cores


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
    precision: Annotated[str, typer.Option(help="As in `ckd-run`.")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score deployed bundles by the official ISIC scores, each as a device would run it."""
    from ckd.benchmarks.accuracy import accuracy, accuracy_table
    from ckd.data.layouts import read_unseen
    from ckd.data.samples import numbered_as
    from ckd.runtime.cascade import Cascade

    if data is None:
        raise UsageError("--data is missing: the folder of a data set, see `ckd-train data check`")
    chosen: list[Path | None] = list(bundles) if bundles else [None]
    with ExitStack() as stack:
        # All are opened before the first is scored: a wrong one must not cost the others' scores.
        cascades = [
            stack.enter_context(Cascade.load(path, backend, device, precision)) for path in chosen
        ]
        specs = [cascade.spec for cascade in cascades]
        samples = read_unseen(data, split, specs)
        for spec in specs:
            numbered_as(spec.labels, samples, exclusive=spec.outputs.exclusive)
        found = [
            accuracy(cascade, samples, console.progress_bar(cascade.spec.name))
            for cascade in cascades
        ]
    if as_json:
        print(json.dumps([one.as_dict() for one in found]))
        return
    print(f"{samples.name} {split}, {len(samples)} images, single view\n")
    print(accuracy_table(found), end="")


def side_by_side_command(
    bundles: Sequence[Path],
    recipes: Sequence[str],
    data: Path | None,
    runs: int,
    warmup: int,
    threads: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Set bundles and untrained recipes side by side; options are those of `ckd-bench compare`."""
    from ckd.benchmarks.machine import public_command
    from ckd.benchmarks.side_by_side import (
        side_by_side,
        to_json,
        to_markdown,
        write_side_by_side,
    )
    from ckd.data.layouts import read_unseen

    if out is not None:
        console.make_folder(out)
    specs = [Bundle(bundle).spec for bundle in bundles]
    samples = None if data is None else read_unseen(data, "val", specs)
    with tempfile.TemporaryDirectory() as name:
        found = side_by_side(
            bundles,
            _untrained(recipes, Path(name)),
            threads=threads or usable_cores(),
            warmup=warmup,
            runs=runs,
            command=public_command("ckd-bench", sys.argv[1:]),
            samples=samples,
            progress=console.progress_bar("calls"),
        )
    if out is not None:
        print(f"wrote {', '.join(write_side_by_side(found, out))} to {out}", file=sys.stderr)
    print(to_json(found) if as_json else to_markdown(found), end="")


def _untrained(recipes: Sequence[str], folder: Path) -> list[Path]:
    if not recipes:
        return []
    from ckd.benchmarks.subjects import export_run, untrained_run
    from ckd.train.recipes.catalogue import find_recipe

    names = [find_recipe(recipe).name for recipe in recipes]  # all, before any is built
    if len(set(names)) < len(names):
        raise UsageError(f"--recipe {max(names, key=names.count)} is given twice; give each once")
    made = []
    for recipe in recipes:
        print(f"building {recipe} with untrained weights", file=sys.stderr)
        run = untrained_run(recipe, folder / f"run-{recipe}")
        made.append(export_run(run, folder))
    return made
