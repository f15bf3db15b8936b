"""`ckd-bench`: how fast a cascade is on this machine."""

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.benchmarks.gpu.cli import gpu_command
from ckd.benchmarks.measure import MOST_RUNS
from ckd.benchmarks.systems_cli import accuracy_command, side_by_side_command
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
    from ckd.benchmarks.contenders import ChainSetting
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
    weights, fused = "as in the bundle", None
    setting = ChainSetting(
        backend=backend, device=device, precision=precision, threads=threads or usable_cores()
    )
    with ExitStack() as stack:
        if recipe is not None or run is not None:
            from ckd.benchmarks.subjects import UNTRAINED, export_fused, export_run, untrained_run

            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if recipe is not None:
                _say(f"building {recipe} with untrained weights")
                run, weights = untrained_run(recipe, folder / "run"), UNTRAINED
            else:
                weights = "trained"
            assert run is not None
            _say("exporting the networks, and one fused graph of them")
            bundle = bundle or export_run(run, folder)
            fused = export_fused(run, folder, bundle, folds=True)
        _say("measuring")
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
        report = replace(report, startup=startup(bundle, setting=setting))
    if out is not None:
        written = write_report(report, out)
        _say(f"wrote {', '.join(written)} to {out}")
        if "latency.png" not in written:
            _say("no picture: `pip install matplotlib` first")
    print(report.to_json() if as_json else report.to_markdown(), end="")


@cli.command("compare")
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
    runs: Annotated[
        int, typer.Option(min=1, max=MOST_RUNS, help="Timed calls of every entrant.")
    ] = 50,
    warmup: Annotated[
        int, typer.Option(min=0, max=MOST_RUNS, help="Calls before these that do not count.")
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_THREADS, help="CPU threads; default: all usable cores."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write compare.json, compare.md and compare.png here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time every backend and precision, PyTorch, and what one would build by hand, in one run.

    Or several bundles and untrained recipes side by side: size, time and, with --data, what the
    bundles score.
    """
    if run is None and (bundle or len(recipe or ()) > 1):
        if calibration is not None:
            raise UsageError(
                "--calibration makes INT8 files of a run; bundles are taken as they are"
            )
        side_by_side_command(bundle or (), recipe or (), data, runs, warmup, threads, out, as_json)
        return
    from ckd.benchmarks.compare import compare
    from ckd.benchmarks.compare_report import to_json, to_markdown, write_comparison
    from ckd.benchmarks.machine import public_command
    from ckd.benchmarks.subjects import (
        UNTRAINED,
        export_fused,
        export_run,
        int8_bundle,
        untrained_run,
    )
    from ckd.calibration.images import by_digest, check_apart, spread
    from ckd.data.layouts import read_split
    from ckd.runtime.sources.images import images_below
    from ckd.train.fitting.run_folder import recipe_of

    if (run is None) == (not recipe):
        raise UsageError("give either --run or --recipe, or one --bundle or more")
    if bundle and len(bundle) > 1:
        raise UsageError("a run is compared with one bundle of it; give one --bundle")
    if out is not None:
        console.make_folder(out)
    split_by = "lesion" if run is None else recipe_of(run).split_by
    samples = None if data is None else read_split(data, "val", split_by)
    images = {} if calibration is None else by_digest(spread(images_below(calibration), 100))
    if samples is not None:
        check_apart(images, samples)
    if images and find_spec("nncf") is None:
        _say("without NNCF: `pip install --group peers` in the folder of this project adds it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = "trained"
        if recipe:
            _say(f"building {recipe[0]} with untrained weights")
            run, weights = untrained_run(recipe[0], folder / "run"), UNTRAINED
        assert run is not None
        _say("exporting the networks, and one fused graph of them")
        made = bundle[0] if bundle else export_run(run, folder)
        fused = export_fused(run, folder, made, folds=False)
        if not bundle and images:
            _say("quantising")
            made = int8_bundle(made, images, folder / "int8")
        _say("measuring")
        found = compare(
            made,
            run,
            fused,
            threads=threads or usable_cores(),
            warmup=warmup,
            runs=runs,
            weights=weights,
            command=public_command("ckd-bench", sys.argv[1:]),
            calibration=list(images.values()),
            samples=samples,
            progress=console.progress_bar("calls"),
        )
    if out is not None:
        _say(f"wrote {', '.join(write_comparison(found, out))} to {out}")
    print(to_json(found) if as_json else to_markdown(found), end="")


cli.command("accuracy")(accuracy_command)
cli.command("gpu")(gpu_command)


def main() -> None:
    """Entry point of `ckd-bench`."""
    console.run(cli)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
