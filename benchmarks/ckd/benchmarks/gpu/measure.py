"""A cascade on a GPU, against PyTorch, ONNX Runtime and TensorRT: all contenders in turn.

A call begins with uint8 images at network size in the host's memory and ends with the logits there.
The resize before and the masks after it are work of the CPU, see `ckd.benchmarks.latency`.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ckd.benchmarks.gpu.ceilings import Ceilings, floor_of, measure_ceilings
from ckd.benchmarks.gpu.contenders import REFERENCE, entries, open_all
from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.device import check_device, describe, use_device
from ckd.benchmarks.gpu.files import write_gpu_report
from ckd.benchmarks.gpu.pytorch import full_precision
from ckd.benchmarks.gpu.report import GpuReport, Race, Result
from ckd.benchmarks.gpu.subject import Subject
from ckd.benchmarks.gpu.turns import MIN_RUNS, take_turns
from ckd.benchmarks.machine import activity, conditions, machine
from ckd.benchmarks.measure import latency_from_samples, paired_ratio
from ckd.train.recipes.catalogue import find_recipe

#: Part of the time left that a recipe may take if another one follows.
_SHARE_OF_RECIPE: Final = 0.85

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        device: for torch: "cuda", "cuda:1", or "cpu" to rehearse.
        batches: images in a call.
        runs: timed turns at most; fewer where time is short.
        warmup: turns that do not count.
        side: of the matrices whose product is timed for the ceilings.
        copy_bytes: size of the copy that is timed for the ceilings.
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

    What has been measured is then kept even if a later race crashes, or is stopped.

    Args:
        recipes: names, the most important one first.
        work: folder for networks and files; files in it are used again.
        out: folder for the report; None writes nothing.
        settings: how to measure.
        deadline: for everything.
        command: to be quoted.
        say: told what happens.

    Raises:
        EnvironmentUnusable: there is no such device.
        UsageError: no such recipe or device.
    """
    check_device(settings.device)
    for recipe in recipes:
        find_recipe(recipe)  # so that a wrong name fails now, not after minutes
    use_device(settings.device)
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
        candidates = entries(subject, settings.device, settings.compiler)
        title = f"{subject.name}, batch {batch}"

        def tell(line: str) -> None:
            say(f"{title}: {line}")

        turns = settings.warmup + 1 + MIN_RUNS
        images = subject.images(batch)
        opened = open_all(candidates, images, stack, subject.deadline, num_turns=turns, say=tell)
        timed = take_turns(
            opened.steps, subject.deadline, runs=settings.runs, warmup=settings.warmup, say=tell
        )
        results = [
            Result(
                name=name,
                precision=entry.precision,
                device=latency_from_samples(timed.device_ms[name], settings.warmup),
                wall=latency_from_samples(timed.wall_ms[name], settings.warmup),
                speedup=(
                    paired_ratio(timed.wall_ms[REFERENCE], timed.wall_ms[name])
                    if REFERENCE in timed.wall_ms
                    else None
                ),
                copies=timed.copies[name],
                allocations=timed.allocations[name],
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
            if name in timed.wall_ms
        ]
    results.sort(key=lambda result: result.name.startswith("ckd"))  # peers first
    return Race(
        subject=subject.name,
        weights="untrained",
        image_size=subject.system.image_size,
        batch=batch,
        runs=timed.runs,
        macs=subject.macs,
        num_weights=subject.num_weights,
        results=tuple(results),
        absent=(*opened.absent, *timed.dropped),
    )
