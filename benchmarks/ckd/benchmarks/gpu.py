"""A cascade on a GPU, against PyTorch, ONNX Runtime and TensorRT: all contenders in turn.

What is measured begins with uint8 images at network size in the host's memory and ends with the
logits there. The resize before and the masks after it are work of the CPU, see
`ckd.benchmarks.latency`.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.gpu_ceilings import Ceilings, floor_of, measure_ceilings
from ckd.benchmarks.gpu_contenders import REFERENCE, entries, open_all
from ckd.benchmarks.gpu_deadline import Deadline
from ckd.benchmarks.gpu_device import check_device, describe
from ckd.benchmarks.gpu_report import GpuReport, Race, Result, write_gpu_report
from ckd.benchmarks.gpu_subject import Subject
from ckd.benchmarks.gpu_torch import full_precision
from ckd.benchmarks.machine import activity, conditions, machine
from ckd.benchmarks.measure import interleaved, latency_from_samples, paired_ratio
from ckd.train.recipes import find_recipe

#: Least number of timed turns, and the share of the time left that one race may take.
_MIN_RUNS: Final = 20
_SHARE: Final = 0.3
#: Part of the time left that a recipe may take when others follow.
_SHARE_OF_RECIPE: Final = 0.65

Say = Callable[[str], None]
Samples = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        device: for torch: "cuda", "cuda:1", or "cpu" to rehearse.
        batches: images in a call.
        runs: timed turns at most; fewer where time is short.
        warmup: turns that do not count.
        side: of the matrices, and ``copy_bytes``: of the copy, that the ceilings are measured by.
        compiler: of `torch.compile`.
    """

    device: str = "cuda"
    batches: Sequence[int] = (1, 8)
    runs: int = 200
    warmup: int = 20
    side: int = 8192
    copy_bytes: int = 1 << 30
    compiler: str = "inductor"


def measure_gpu(
    recipes: Sequence[str],
    work: Path,
    out: Path | None,
    *,
    settings: Settings,
    deadline: Deadline,
    command: str = "",
    say: Say = lambda line: None,
) -> GpuReport:
    """Race every recipe in every batch, and write the report after each race.

    So what has been measured is there even if a later race ends the process.

    Args:
        recipes: names, the most important one first.
        work: folder for networks and files; what it has is used again.
        out: folder for the report; None writes nothing.
        settings: how to measure.
        deadline: for everything.
        command: to be quoted.
        say: is told what happens.

    Raises:
        EnvironmentUnusable: there is no such device.
        UsageError: no such recipe or device.
    """
    check_device(settings.device)
    for recipe in recipes:
        find_recipe(recipe)  # a wrong name is known now, not after minutes
    before = activity()
    say("measuring what the device can do at most")
    with full_precision():
        ceilings = measure_ceilings(
            settings.device, side=settings.side, copy_bytes=settings.copy_bytes
        )
        report = GpuReport(
            device=describe(settings.device),
            ceilings=ceilings,
            races=(),
            machine=machine(),
            conditions=conditions(before, activity(), command),
        )
        for position, recipe in enumerate(recipes, start=1):
            say(f"{recipe}: networks with untrained weights")
            part = 1.0 if position == len(recipes) else _SHARE_OF_RECIPE
            subject = Subject(recipe, work, Deadline(part * deadline.left_s))
            for batch in settings.batches:
                race = run_race(subject, batch, ceilings, settings, say)
                during = conditions(before, activity(), command)
                report = replace(report, races=(*report.races, race), conditions=during)
                if out is not None:
                    say(f"wrote {', '.join(write_gpu_report(report, out))} to {out}")
    return report


def run_race(
    subject: Subject,
    batch: int,
    ceilings: Ceilings,
    settings: Settings,
    say: Say,
) -> Race:
    """One subject, one batch size, all contenders in turn."""
    with ExitStack() as stack:
        wanted = entries(subject, settings.device, settings.compiler)
        title = f"{subject.name}, batch {batch}"
        opened = open_all(
            wanted, subject.images(batch), stack, lambda line: say(f"{title}: {line}")
        )
        wall_ms: Samples = {}
        held: dict[str, int | None] = {}
        runs = 0
        if opened.steps:
            first_ms = interleaved(opened.steps, warmup=0, runs=settings.warmup + 1, rest_s=0.0)
            runs = _affordable(settings.runs, first_ms, subject.deadline)
            say(f"{title}: {runs} turns of {len(opened.steps)} contenders")
            held = {name: step.allocations() for name, step in opened.steps.items()}
            wall_ms = interleaved(opened.steps, warmup=0, runs=runs, rest_s=0.0)
        results = [
            Result(
                name=name,
                precision=entry.precision,
                device=latency_from_samples(opened.steps[name].device_ms[-runs:], settings.warmup),
                wall=latency_from_samples(wall_ms[name], settings.warmup),
                speedup=(
                    paired_ratio(wall_ms[REFERENCE], wall_ms[name])
                    if REFERENCE in wall_ms
                    else None
                ),
                copies=opened.steps[name].copies(),
                allocations=_more(opened.steps[name].allocations(), held[name]),
                floor=floor_of(
                    ceilings,
                    entry.precision,
                    num_weights=subject.num_weights,
                    macs=subject.macs,
                    batch=batch,
                ),
                logit_error=opened.logit_errors[name],
            )
            for name, entry in opened.entries.items()
        ]
    results.sort(key=lambda result: result.name.startswith("ckd"))  # peers first
    return Race(
        subject=subject.name,
        weights="untrained",
        image_size=subject.system.image_size,
        batch=batch,
        runs=runs,
        macs=subject.macs,
        num_weights=subject.num_weights,
        results=tuple(results),
        absent=opened.absent,
    )


def _affordable(wanted: int, first_ms: Samples, deadline: Deadline) -> int:
    """How many turns fit into this race's share of the time left."""
    turn_s = sum(float(np.median(taken_ms)) for taken_ms in first_ms.values()) / 1e3
    return min(wanted, max(int(_SHARE * deadline.left_s / max(turn_s, 1e-6)), _MIN_RUNS))


def _more(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before
