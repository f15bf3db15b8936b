"""`ckd-bench`: how fast a cascade is on this machine."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.benchmarks.gpu.cli import gpu_command
from ckd.benchmarks.live_cli import capture_command, settling_command
from ckd.benchmarks.measure import MOST_RUNS
from ckd.benchmarks.systems_cli import accuracy_command, backbones_command, compare_command
from ckd.console.options import MOST_THREADS
from ckd.contract.errors import UsageError
from ckd.runtime.backends.selection import chosen_device
from ckd.runtime.cpu import usable_cores

cli = console.app("Measure a cascade on this machine: speed and memory, against PyTorch.")


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
    runs: Annotated[
        int, typer.Option(min=1, max=MOST_RUNS, help="Timed calls of every contender.")
    ] = 100,
    warmup: Annotated[
        int, typer.Option(min=0, max=MOST_RUNS, help="Calls before these that do not count.")
    ] = 10,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_THREADS, help="CPU threads; default: all usable cores."),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Of the chain: onnxruntime, openvino, tensorrt, or auto.")
    ] = "onnxruntime",
    device: Annotated[
        str, typer.Option(help="Of the chain, as in `ckd-run`; on a GPU nothing runs beside it.")
    ] = "cpu",
    precision: Annotated[str, typer.Option(help="Of the chain, as in `ckd-run`.")] = "fp32",
    power: Annotated[
        bool, typer.Option("--power", help="On a Jetson: also measure watts, and joules a frame.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write latency.json, latency.md and latency.png here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Time one 1920x1080 frame: the chain, and with --run or --recipe one graph and PyTorch."""
    from ckd.benchmarks.contenders import CascadeSetting
    from ckd.benchmarks.latency import latency
    from ckd.benchmarks.latency_files import write_report
    from ckd.benchmarks.machine import public_command
    from ckd.benchmarks.power import find_rails
    from ckd.benchmarks.processes import startup

    if recipe is not None and (run is not None or bundle is not None):
        raise UsageError("--recipe makes networks of its own; leave out --run and --bundle")
    if chosen_device(backend, device) != "cpu" and (run or recipe):
        raise UsageError(
            "--run and --recipe add contenders on the CPU, the chain would be on a GPU; leave them "
            "out, or race them all there with `ckd-bench gpu`"
        )
    rails = find_rails() if power else ()
    if out is not None:
        console.make_folder(out)
    setting = CascadeSetting(
        backend=backend, device=device, precision=precision, threads=threads or usable_cores()
    )
    fused, weights = None, "as in the bundle"
    with tempfile.TemporaryDirectory() as folder:
        if recipe is not None or run is not None:
            from ckd.benchmarks.subjects import make_subject

            subject = make_subject(Path(folder), run=run, recipe=recipe, bundle=bundle, folds=True)
            run, bundle, fused = subject.run, subject.bundle, subject.fused
            weights = subject.weights
        console.say("measuring")
        report = latency(
            bundle,
            run=run,
            fused=fused,
            setting=setting,
            warmup=warmup,
            runs=runs,
            weights=weights,
            command=public_command("ckd-bench", sys.argv[1:]),
            rails=rails,
            progress=console.progress_bar("calls"),
        )
        report = replace(report, startup=startup(bundle, setting=setting, runs=min(5, runs)))
    if out is not None:
        written = write_report(report, out)
        console.say(f"wrote {', '.join(written)} to {out}")
        if "latency.png" not in written:
            console.say("no picture: `pip install matplotlib` first")
    console.show(report.to_json() if as_json else report.to_markdown(), end="", keep="\n")


cli.command("compare")(compare_command)
cli.command("accuracy")(accuracy_command)
cli.command("backbones")(backbones_command)
cli.command("capture")(capture_command)
cli.command("settling")(settling_command)
cli.command("gpu")(gpu_command)


def main() -> None:
    """Entry point of `ckd-bench`."""
    console.run(cli)


if __name__ == "__main__":
    main()
