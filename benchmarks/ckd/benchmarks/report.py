"""The report of a latency measurement, as JSON and as Markdown."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.markdown import machine_rows, ratio_text, rounded, table
from ckd.benchmarks.measure import Latency, Ratio
from ckd.benchmarks.power import PowerReport

Kind = Literal["chain", "jpeg", "fused", "pytorch"]

#: Kind of contender -> its name, and what exactly ran.
CONTENDERS: Final[Mapping[Kind, tuple[str, str]]] = {
    "chain": ("ckd chain", "`Cascade.predict(array)`, one engine per node on shared buffers"),
    "jpeg": ("ckd chain, from JPEG", "`Cascade.predict(path)`: the same, with decoding"),
    "fused": (
        "one fused ONNX graph",
        "all nodes in one file, plain ONNX Runtime; its threads spin during the call and not after",
    ),
    "pytorch": (
        "PyTorch eager",
        "the system as trained: FP32, channels last, `torch.inference_mode`",
    ),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak resident memory of a fresh process that runs one contender, in MiB."""

    libraries_mb: float  # imports done, no network loaded yet
    peak_mb: float  # networks loaded and run
    files_mb: float  # pages of libraries and mapped engines at the end, which can be reclaimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """The figures of one contender.

    Attributes:
        networks: from the resized image to the logits; None if another contender has the figure.
        frame: from the image to masks and probabilities.
        networks_speedup: PyTorch's time over this one's; None without PyTorch.
        frame_speedup: likewise.
        memory: None if another contender has the figure.
        logit_error: largest difference from the chain's logits, as a part of the largest logit of
            that tensor; None for JPEG, which gives a slightly different image.
    """

    kind: Kind
    networks: Latency | None
    frame: Latency
    networks_speedup: Ratio | None
    frame_speedup: Ratio | None
    memory: Memory | None
    logit_error: float | None


@dataclass(frozen=True, slots=True)
class Startup:
    """A fresh process from its start to its end, with its files in the page cache."""

    what: str
    wall: Latency
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """One latency measurement, with the facts that are needed to judge it and to repeat it.

    Attributes:
        bundle: name and first digits of the digest.
        weights: description of the weights.
        device: of the chain, "cpu" or "cuda:N"; other contenders run on the CPU, and only if the
            chain does.
        steps: the chain's "preprocess", each node by name or on a GPU all as "networks", and
            "postprocess".
        overhead: the part of the chain's frame outside all nodes.
        power: of the board while the chain ran; None if it was not measured.
        fused_ratio: fused graph's time over the chain's, networks alone; below 1 the chain is
            slower.
    """

    bundle: str
    weights: str
    image_size: int
    backend: str
    device: str
    precision: str
    threads: int
    contenders: tuple[Contender, ...]
    steps: Mapping[str, Latency]
    overhead: Latency
    fused_ratio: Ratio | None
    startup: tuple[Startup, ...]
    power: PowerReport | None
    machine: Machine
    conditions: Conditions

    @property
    def place(self) -> str:
        """The device, for people."""
        return "the CPU" if self.device == "cpu" else self.device

    def to_json(self) -> str:
        """Everything, times in milliseconds and memory in MiB."""
        tree = {"schema": 1, "measured": "latency", **asdict(self)}
        if self.power is not None:
            tree["power"]["joules_per_frame"] = self.power.busy.joules_per_frame
        return json.dumps(rounded(tree), indent=2) + "\n"

    def to_markdown(self) -> str:
        """Tables for people."""
        return "\n\n".join(_sections(self)) + "\n"


def _sections(report: LatencyReport) -> Iterable[str]:
    one = report.contenders[0].frame
    yield f"# Latency of {report.bundle}"
    yield (
        f"One 1920x1080 frame, batch of one, {report.precision.upper()} on {report.place}, "
        f"{report.threads} CPU threads for every contender, networks at {report.image_size} px. "
        f"Weights: {report.weights}. {one.runs} turns after {one.warmup} for warm-up; the "
        "contenders took turns call by call, and each call was over when the next one began. "
        "Times are wall times in milliseconds. A ratio is the median over the turns, with the "
        "range that holds 80% of them in brackets."
    )
    if report.conditions.other_cores > 0.1 or report.conditions.stolen_cores > 0.05:
        yield (
            f"> **The machine was shared:** meanwhile other processes used "
            f"{report.conditions.other_cores:.2f} cores and the hypervisor withheld "
            f"{report.conditions.stolen_cores:.2f}. That hits contenders unequally, most of all "
            "those whose threads wait for each other often. Measure again on an idle machine."
        )
    compared = any(c.kind == "pytorch" for c in report.contenders)
    head = ("contender", "p50", "p90", "p99", "min", *["PyTorch / contender"] * compared)
    yield "## Networks alone: resized image to logits"
    yield table(
        head,
        (
            (CONTENDERS[c.kind][0], *_figures(c.networks), *[_speedup(c, "networks")] * compared)
            for c in report.contenders
            if c.networks is not None
        ),
    )
    if report.fused_ratio is not None:
        yield f"Fused graph / chain: {ratio_text(report.fused_ratio)}; below 1 the chain loses."
    yield "## Whole frame: image to masks at frame size and probabilities"
    yield table(
        head,
        (
            (CONTENDERS[c.kind][0], *_figures(c.frame), *[_speedup(c, "frame")] * compared)
            for c in report.contenders
        ),
    )
    yield "\n".join(_explained(contender) for contender in report.contenders)
    yield "## The chain step by step"
    total_ms = sum(step.p50_ms for step in report.steps.values())
    yield table(
        ("step", "p50", "p90", "p99", "min", "share of p50"),
        ((n, *_figures(s), f"{s.p50_ms / total_ms:.1%}") for n, s in report.steps.items()),
    )
    yield (
        f"Outside the engines: {report.overhead.p50_ms:.2f} ms of a frame (p50; p90 "
        f"{report.overhead.p90_ms:.2f}, p99 {report.overhead.p99_ms:.2f}): resize, masks at frame "
        "size, result, and everything else that is no engine."
    )
    yield "## Memory"
    yield (
        "Peak resident memory of a fresh process for each contender, three frames, MiB. Pages of "
        "files are taken back by the kernel when memory is short."
        + " PyTorch's libraries include those that `ckd.train` needs for training."
        * compared
    )
    yield table(
        ("contender", "libraries", "peak", "networks and work", "files' pages at the end"),
        (
            (CONTENDERS[c.kind][0], *(f"{mb:.0f}" for mb in (m.libraries_mb, m.peak_mb)),
             f"{m.peak_mb - m.libraries_mb:.0f}", f"{m.files_mb:.0f}")
            for c in report.contenders
            if (m := c.memory) is not None
        ),
    )  # fmt: skip
    if report.startup:
        yield "## Start-up"
        yield (
            f"Fresh processes from start to end, {report.startup[0].wall.runs} runs each, files in "
            "the page cache."
        )
        yield table(
            ("process", "p50, ms", "min, ms", "peak memory, MiB"),
            (
                (s.what, f"{s.wall.p50_ms:.0f}", f"{s.wall.min_ms:.0f}", f"{s.peak_mb:.0f}")
                for s in report.startup
            ),
        )
    if report.power is not None:
        yield from _power_sections(report.power)
    yield "## Machine"
    yield table(("", ""), machine_rows(report.machine, report.conditions))


def _power_sections(power: PowerReport) -> Iterable[str]:
    idle, busy = power.idle, power.busy
    yield "## Power"
    yield (
        f"Means of {busy.samples} readings over {busy.seconds:.1f} s, in which the chain took "
        f"{busy.frames} frames without a pause, and of {idle.samples} over {idle.seconds:.1f} s "
        f"before, in which it did nothing. Whole module: {', '.join(busy.total)}; not its carrier "
        "board, camera or power supply."
    )
    yield table(
        ("rail", "idle, W", "busy, W"),
        [
            *((name, f"{idle.watts[name]:.2f}", f"{w:.2f}") for name, w in busy.watts.items()),
            ("**module**", f"{idle.total_watts:.2f}", f"{busy.total_watts:.2f}"),
        ],
    )
    if busy.joules_per_frame is not None and power.added_joules_per_frame is not None:
        yield (
            f"{busy.joules_per_frame:.3g} J a frame, {power.added_joules_per_frame:.3g} J of it "
            "more than idling takes."
        )


def _figures(latency: Latency) -> tuple[str, str, str, str]:
    taken_ms = latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.min_ms
    p50, p90, p99, low = (f"{value:.2f}" for value in taken_ms)
    return p50, p90, p99 if latency.runs >= 100 else "-", low  # of fewer it is the maximum


def _speedup(contender: Contender, part: Literal["networks", "frame"]) -> str:
    if contender.kind == "pytorch":
        return "1"
    return ratio_text(contender.networks_speedup if part == "networks" else contender.frame_speedup)


def _explained(contender: Contender) -> str:
    name, what = CONTENDERS[contender.kind]
    error = contender.logit_error
    if error is None or contender.kind == "chain":
        return f"* {name}: {what}."
    return f"* {name}: {what}; logits within {error:.0e} of the chain's."
