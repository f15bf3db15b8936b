"""The report of a measurement on a GPU, as JSON and as Markdown."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ckd.benchmarks.gpu.ceilings import Ceilings, Floor
from ckd.benchmarks.gpu.contenders import Absent
from ckd.benchmarks.gpu.device import Device
from ckd.benchmarks.gpu.meter import Copies
from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.markdown import machine_rows, ratio_text, rounded, table
from ckd.benchmarks.measure import Latency, Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One contender in one race; times are of a whole batch.

    Attributes:
        device: from the copy to the device to the end of the copy back, in the device's own queue.
        wall: of the same call, as its caller sees it.
        speedup: wall time of PyTorch eager FP32 over ``wall``, turn by turn.
        copies: between host and device in a call.
        allocations: of memory during all timed turns; None if they are not counted.
        floor: lower bound of the time in this precision on this device; None if not measured.
        logit_error: largest difference from PyTorch's logits, as a part of the largest logit.
    """

    name: str
    precision: str
    device: Latency
    wall: Latency
    speedup: Ratio | None
    copies: Copies
    allocations: int | None
    floor: Floor | None
    logit_error: float | None

    @property
    def wall_over_device(self) -> float:
        """Median wall time over median device time: what the host adds."""
        return self.wall.p50_ms / self.device.p50_ms

    @property
    def over_floor(self) -> float | None:
        """Device time over the floor."""
        return None if self.floor is None else self.device.p50_ms / self.floor.ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """All contenders in turn, with one system and one batch size.

    Attributes:
        macs: multiply-accumulates of one image in the exported networks.
        num_weights: of the exported networks.
        absent: contenders that did not race, and why.
    """

    subject: str
    weights: str
    image_size: int
    batch: int
    runs: int
    macs: int
    num_weights: int
    results: tuple[Result, ...]
    absent: tuple[Absent, ...]

    @property
    def title(self) -> str:
        """Such as "ckdnet-r101, batch of 8"."""
        return f"{self.subject}, batch of {self.batch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """Everything that was measured on one device in one run."""

    device: Device
    ceilings: Ceilings
    races: tuple[Race, ...]
    machine: Machine
    conditions: Conditions

    @property
    def folder_name(self) -> str:
        """Such as "gpu-nvidia-h100-2026-11-22"."""
        return f"gpu-{self.device.slug}-{self.conditions.date[:10]}"

    def to_json(self) -> str:
        """Everything, times in milliseconds, with the ratios of these times."""
        tree: dict[str, Any] = {"schema": 1, "measured": "gpu", **asdict(self)}
        for race_tree, race in zip(tree["races"], self.races, strict=True):
            for result_tree, result in zip(race_tree["results"], race.results, strict=True):
                result_tree["wall_over_device"] = result.wall_over_device
                result_tree["over_floor"] = result.over_floor
        return json.dumps(rounded(tree), indent=1) + "\n"

    def to_markdown(self) -> str:
        """Tables for people."""
        return "\n\n".join(_sections(self)) + "\n"


def _sections(report: GpuReport) -> Iterable[str]:
    yield f"# Cascades on {report.device.name}"
    yield (
        "From uint8 images at network size in the host's memory to the logits there: without the "
        "resize before and the masks after, which are work of the CPU. All contenders of a table "
        "took turns call by call; a call was over when the next one began. Times in milliseconds, "
        "of a whole batch: *device* between two events in the device's queue, copies included, "
        "*wall* as the caller sees it. Times eager: median over the turns, with the range that "
        "holds 80% of them. Copied and allocated is counted by call; "
        "of PyTorch and ONNX Runtime alone it is what the benchmark copies by construction, and "
        "nobody counts what they allocate. FP32 is without TensorFloat-32 everywhere; max-autotune "
        "replays CUDA graphs; torch counts where it cannot, and the name would say so. Untrained "
        "networks amplify rounding, so how far their logits are off in half precision tells "
        "nothing of trained ones."
    )
    if report.device.cuda is None:
        yield "> **A rehearsal on a CPU.** No figure here says anything about a GPU."
    yield "## What the device can do"
    yield table(("", ""), _ceiling_rows(report))
    for race in report.races:
        yield from _race_sections(race)
    yield "## Machine"
    yield table(("", ""), machine_rows(report.machine, report.conditions))


def _ceiling_rows(report: GpuReport) -> Iterable[tuple[str, str]]:
    device, ceilings = report.device, report.ceilings
    if device.compute_capability is not None:
        yield (
            "device",
            f"{device.name}, compute capability {device.compute_capability}, "
            f"{device.num_multiprocessors} multiprocessors, {device.memory_gb} GB, "
            f"CUDA {device.cuda}",
        )
    yield "copy in its memory, read + write", f"{ceilings.copy_gb_per_s:.0f} GB/s"
    for precision, rate in ceilings.tera_macs_per_s.items():
        yield (
            f"matrix product {precision.upper()}",
            f"{rate:.3g} T multiply-accumulates/s ({2 * rate:.3g} TOP/s)",
        )


def _race_sections(race: Race) -> Iterable[str]:
    yield f"## {race.title}"
    one_by_one = (
        " PyTorch takes the batch in one call; all others were exported for one image and take it "
        "one by one."
        if race.batch > 1
        else ""
    )
    yield (
        f"Networks at {race.image_size} px, {race.num_weights / 1e6:.1f} M weights "
        f"({race.weights}), {race.macs / 1e9:.2f} G multiply-accumulates an image; "
        f"{race.runs} turns after a warm-up.{one_by_one}"
    )
    yield table(
        (
            "contender", "device p50", "p90", "p99", "wall p50", "p90", "p99", "times eager FP32",
            "wall / device", "floor", "device / floor",
        ),
        (
            (
                r.name, *_figures(r.device), *_figures(r.wall), ratio_text(r.speedup),
                f"{r.wall_over_device:.2f}", "" if r.floor is None else f"{r.floor.ms:.3f}",
                "" if r.over_floor is None else f"{r.over_floor:.1f}",
            )
            for r in race.results
        ),
    )  # fmt: skip
    yield table(
        ("contender", "copied in", "copied out", "allocations while timed", "logits off by"),
        (
            (
                r.name, _crossed(r.copies.num_in, r.copies.bytes_in),
                _crossed(r.copies.num_out, r.copies.bytes_out),
                "" if r.allocations is None else str(r.allocations),
                "" if r.logit_error is None else f"{r.logit_error:.1e}",
            )
            for r in race.results
        ),
    )  # fmt: skip
    if race.absent:
        yield "Did not race:"
        yield "\n".join(f"* {absent.name}: {absent.reason}" for absent in race.absent)


def _figures(latency: Latency) -> tuple[str, str, str]:
    p50, p90, p99 = (f"{ms:.3f}" for ms in (latency.p50_ms, latency.p90_ms, latency.p99_ms))
    return p50, p90, p99 if latency.runs >= 100 else "-"  # of fewer it is the maximum


def _crossed(count: int, num_bytes: int) -> str:
    return f"{count} x, {num_bytes / 1024:.1f} KiB" if count else "-"
