"""The options of `ckd-bench gpu`; `ckd.benchmarks.gpu.measure` does the work."""

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.benchmarks.measure import MOST_RUNS
from ckd.contract.errors import EngineError, UsageError


def gpu_command(
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Networks to race; may be given again. Default: r101 and mobile."),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=1024, help="Images in a call; may be given again. Default: 1 and 8."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cuda or cuda:N; cpu only rehearses, its figures say nothing.")
    ] = "cuda",
    runs: Annotated[int, typer.Option(min=1, max=MOST_RUNS, help="Timed turns at most.")] = 200,
    warmup: Annotated[
        int, typer.Option(min=0, max=MOST_RUNS, help="Turns before these that do not count.")
    ] = 20,
    limit: Annotated[
        float,
        typer.Option(
            min=1,
            max=86_400,
            callback=console.finite,
            help="Seconds for everything; what would be too long is left.",
        ),
    ] = 420.0,
    work: Annotated[
        Path | None,
        typer.Option(help="Keep networks and exported files here, and use those that are there."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Write gpu.json, gpu.md and gpu.png into gpu-<device>-<date> in here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Race cascades on a GPU: ours, PyTorch eager and compiled, ONNX Runtime, TensorRT."""
    from ckd.benchmarks.gpu.deadline import Deadline
    from ckd.benchmarks.gpu.device import check_device
    from ckd.benchmarks.gpu.measure import Settings, measure_gpu
    from ckd.benchmarks.machine import public_command

    batches = tuple(batch or (1, 8))
    if len(set(batches)) < len(batches):
        raise UsageError(f"--batch: {', '.join(map(str, batches))} has one twice")
    check_device(device)
    if results is not None:
        console.make_folder(results)
    settings = Settings(device=device, batches=batches, runs=runs, warmup=warmup)
    if device == "cpu":
        settings = replace(settings, side=512, copy_bytes=1 << 24)
    with ExitStack() as stack:
        if work is not None:
            console.make_folder(work)
        else:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        report = measure_gpu(
            recipe or ("ckdnet-r101", "ckdnet-mobile"),
            work,
            results,
            settings=settings,
            deadline=Deadline(limit),
            command=public_command("ckd-bench", sys.argv[1:]),
            say=console.say,
        )
    console.show(report.to_json() if as_json else report.to_markdown(), end="", keep="\n")
    if not any(race.results for race in report.races):
        raise EngineError("nobody could race, so nothing was measured; the report says why")
