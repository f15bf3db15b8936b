"""`ckd-bench`: how fast a cascade is on this machine."""

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ckd.contract import console
from ckd.contract.errors import UsageError
from ckd.runtime.backends import usable_cores

if TYPE_CHECKING:
    from ckd.train.config import Recipe
    from ckd.train.systems.graph import System

cli = console.app("Measure a cascade on this machine: speed and memory, against PyTorch.")

#: Enough images for running statistics that keep an untrained network's activations sane.
NUM_CALIBRATION = 32


@cli.command("latency")
def latency_command(
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle folder or zip; default: the embedded one.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Measure a recipe's networks with untrained weights instead."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of `ckd-train fit`: adds PyTorch and one fused graph. "
            "Without --bundle, the run is exported and measured."
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Timed calls of every contender.")] = 100,
    warmup: Annotated[int, typer.Option(min=0, help="Calls before these that do not count.")] = 10,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: all usable cores.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write latency.json, latency.md and latency.png here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Time one 1920x1080 frame: the chain, and with --run or --recipe one graph and PyTorch."""
    from ckd.benchmarks.latency import latency, startup
    from ckd.benchmarks.machine import public_command
    from ckd.benchmarks.report import write_report

    if recipe is not None and (run is not None or bundle is not None):
        raise UsageError("--recipe makes networks of its own; leave out --run and --bundle")
    weights, fused = "as in the bundle", None
    threads = threads or usable_cores()
    with ExitStack() as stack:
        if recipe is not None or run is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if recipe is not None:
                run, weights = untrained_run(recipe, folder / "run"), "untrained"
            else:
                weights = "trained"
            assert run is not None
            bundle, fused = export_run(run, folder, bundle)
        _say("measuring")
        report = latency(
            bundle,
            run=run,
            fused=fused,
            threads=threads,
            warmup=warmup,
            runs=runs,
            weights=weights,
            command=public_command("ckd-bench", sys.argv[1:]),
            progress=console.progress_bar("calls"),
        )
        report = replace(report, startup=startup(bundle, threads=threads))
    if out is not None:
        written = write_report(report, out)
        _say(f"wrote {', '.join(written)} to {out}")
        if "latency.png" not in written:
            _say("no picture: `pip install matplotlib` first")
    print(report.to_json() if as_json else report.to_markdown(), end="")


def untrained_run(recipe_name: str, out: Path) -> Path:
    """Write a run folder as if a recipe had been trained, with weights as they start out.

    Speed and memory do not depend on the weights as long as no activation is denormal or infinite;
    running statistics measured on generated images see to that.
    """
    import torch

    from ckd.contract.labels import ISIC2017
    from ckd.train.recipes import find_recipe

    recipe = find_recipe(recipe_name)
    _say(f"building {recipe.name} with untrained weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
        calibrate_batch_norm(system)
    _write_run(recipe, system, out)
    return out


def calibrate_batch_norm(system: "System", num_images: int = NUM_CALIBRATION) -> None:
    """Set BatchNorm's running statistics to the means over generated dermoscopy images."""
    import numpy as np
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from ckd.train.data.synthetic import dermoscopy

    momenta = {m: m.momentum for m in system.modules() if isinstance(m, _BatchNorm)}
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None  # a plain mean over batches instead of a decaying one
    system.train()
    with torch.no_grad():
        for first in range(0, num_images, 8):
            images = [
                dermoscopy(seed, system.image_size).image_HWC for seed in range(first, first + 8)
            ]
            system(torch.from_numpy(np.stack(images)))
    system.eval()
    for module, momentum in momenta.items():
        module.momentum = momentum


def export_run(run: Path, folder: Path, bundle: Path | None) -> tuple[Path, Path]:
    """A bundle of a run, unless there is one, and one ONNX file of its whole cascade.

    Raises:
        GateFailed: the exported chain disagrees with PyTorch.
    """
    from ckd.export.bundle import write_bundle
    from ckd.export.onnx import export_onnx
    from ckd.train.run_folder import load_run

    recipe, system = load_run(run)
    if bundle is None:
        _say(f"exporting {recipe.name}")
        bundle = folder / recipe.name
        write_bundle(system, bundle, name=recipe.name, provenance={"purpose": "benchmark"})
    _say("exporting one fused graph")
    whole = system.merged([node.name for node in system.nodes], "fused")
    whole.eval()  # a new module is in training mode, and exported so it would be another network
    fused = folder / "fused.onnx"
    export_onnx(whole.nodes[0], whole, fused)
    return bundle, fused


def main() -> None:
    """Entry point of `ckd-bench`."""
    console.run(cli)


def _write_run(recipe: "Recipe", system: "System", out: Path) -> None:
    """What `ckd.train.fit.load_run` reads."""
    import json

    import torch

    for stage in recipe.stages:
        (out / stage.name).mkdir(parents=True)
        weights = {name: system.networks[name].state_dict() for name in stage.nodes}
        torch.save(weights, out / stage.name / "weights.pt")
    recipe.save(out / "recipe.json")
    (out / "data.json").write_text(json.dumps({"labels": list(system.labels)}) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
