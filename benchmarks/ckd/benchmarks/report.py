"""What a latency measurement found, written as JSON, Markdown and a picture."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.measure import Latency, Ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        "the system as trained: FP32, channels first, `torch.inference_mode`",
    ),
}
_COLOURS: Final[Mapping[Kind, str]] = {
    "chain": "#0b6e7f", "jpeg": "#5ba3ae", "fused": "#7b6ba8", "pytorch": "#c8792f",
}  # fmt: skip
_STEP_COLOURS: Final = ("#0b6e7f", "#3f93a1", "#7bb8c1", "#b5d8dc", "#5a6f9c", "#8c9dc2")


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak resident memory of a fresh process that runs one contender, in MiB."""

    libraries_mb: float  # imports done, no network loaded yet
    peak_mb: float  # networks loaded and run


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What one contender took.

    Attributes:
        networks: from the resized image to the logits; None where another contender tells.
        frame: from the image to masks and probabilities.
        networks_speedup: how many times it goes into PyTorch's time; None without PyTorch.
        frame_speedup: likewise.
        memory: None where another contender tells.
        logit_error: largest difference from the chain's logits, as a part of the largest logit of
            that tensor; None for another image, as JPEG makes it.
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
    """A fresh process from its start to its end; its files are in the page cache already."""

    what: str
    wall: Latency
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """One latency measurement, with all that is needed to judge it and to repeat it.

    Attributes:
        bundle: name and first digits of the digest.
        weights: what they are, in words.
        steps: the chain's "preprocess", each node by name, and "postprocess".
        overhead: the part of the chain's frame that no node accounts for.
        fused_ratio: fused graph's time over the chain's, networks alone; below 1 the chain loses.
    """

    bundle: str
    weights: str
    image_size: int
    backend: str
    precision: str
    threads: int
    contenders: tuple[Contender, ...]
    steps: Mapping[str, Latency]
    overhead: Latency
    fused_ratio: Ratio | None
    startup: tuple[Startup, ...]
    machine: Machine
    conditions: Conditions

    def to_json(self) -> str:
        """Everything, times in milliseconds and memory in MiB."""
        tree = {"schema": 1, "measured": "latency", **asdict(self)}
        return json.dumps(_rounded(tree), indent=2) + "\n"

    def to_markdown(self) -> str:
        """Tables for people."""
        return "\n\n".join(_sections(self)) + "\n"


def write_report(report: LatencyReport, folder: Path) -> list[str]:
    """Write ``latency.json``, ``latency.md`` and, with matplotlib installed, ``latency.png``.

    Returns:
        Names of the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latency.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "latency.md").write_text(report.to_markdown(), encoding="utf-8")
    written = ["latency.json", "latency.md"]
    try:
        _write_picture(report, folder / "latency.png")
    except ImportError:
        return written
    return [*written, "latency.png"]


def _sections(report: LatencyReport) -> Iterable[str]:
    one = report.contenders[0].frame
    yield f"# Latency of {report.bundle}"
    yield (
        f"One 1920x1080 frame, batch of one, {report.precision.upper()} on the CPU, "
        f"{report.threads} threads for every contender, networks at {report.image_size} px. "
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
    yield _table(
        head,
        (
            (CONTENDERS[c.kind][0], *_figures(c.networks), *[_speedup(c, "networks")] * compared)
            for c in report.contenders
            if c.networks is not None
        ),
    )
    if report.fused_ratio is not None:
        yield f"Fused graph / chain: {_ratio(report.fused_ratio)}; below 1 the chain loses."
    yield "## Whole frame: image to masks at frame size and probabilities"
    yield _table(
        head,
        (
            (CONTENDERS[c.kind][0], *_figures(c.frame), *[_speedup(c, "frame")] * compared)
            for c in report.contenders
        ),
    )
    yield "\n".join(_explained(contender) for contender in report.contenders)
    yield "## The chain step by step"
    total_ms = sum(step.p50_ms for step in report.steps.values())
    yield _table(
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
        "Peak resident memory of a fresh process for each contender, three frames, MiB."
        + " PyTorch's libraries include those that `ckd.train` needs for training." * compared
    )
    yield _table(
        ("contender", "libraries", "peak", "networks and work"),
        (
            (CONTENDERS[c.kind][0], *(f"{mb:.0f}" for mb in (m.libraries_mb, m.peak_mb)),
             f"{m.peak_mb - m.libraries_mb:.0f}")
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
        yield _table(
            ("process", "p50, ms", "min, ms", "peak memory, MiB"),
            (
                (s.what, f"{s.wall.p50_ms:.0f}", f"{s.wall.min_ms:.0f}", f"{s.peak_mb:.0f}")
                for s in report.startup
            ),
        )
    yield "## Machine"
    yield _table(("", ""), _machine_rows(report.machine, report.conditions))


def _machine_rows(machine: Machine, during: Conditions) -> Iterable[tuple[str, str]]:
    yield "CPU", f"{machine.cpu}, {machine.cores} cores" + (", virtual" if machine.virtual else "")
    yield "instructions", ", ".join(machine.cpu_flags) or "none of note"
    if machine.governor is not None:
        yield "frequency governor", machine.governor
    yield "memory", f"{machine.memory_gb:.1f} GB"
    yield "system", machine.system
    yield (
        "versions",
        ", ".join(
            f"{name} {version}"
            for name, version in {"Python": machine.python, **machine.versions}.items()
        ),
    )
    yield "date", during.date
    yield "duration", f"{during.duration_s:.0f} s"
    yield "load average", f"{during.load_before:.2f} before, {during.load_after:.2f} after"
    yield (
        "others meanwhile",
        (
            f"{during.other_cores:.2f} cores used by other processes, "
            f"{during.stolen_cores:.2f} withheld by the hypervisor"
        ),
    )
    if during.command:
        yield "command", f"`{during.command}`"


def _write_picture(report: LatencyReport, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(report.contenders)
    figure = Figure(figsize=(9.0, 3.2 + 0.5 * count), dpi=150)
    FigureCanvasAgg(figure)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.18, h_pad=0.08))
    bars, steps = figure.subplots(2, 1, height_ratios=(count, 1.0))
    figure.suptitle(
        f"{report.bundle.partition('@')[0]}: one 1920x1080 frame on the CPU",
        fontsize=13, fontweight="bold", x=0.02, ha="left",
    )  # fmt: skip
    _draw_contenders(bars, report)
    _draw_steps(steps, report)
    one = report.contenders[0].frame
    figure.supxlabel(
        f"{report.machine.cpu}, {report.threads} threads, {report.precision.upper()}, networks at "
        f"{report.image_size} px. Weights: {report.weights}.\n"
        f"{one.runs} turns after {one.warmup} for warm-up, contenders in turn. "
        f"Other processes used {report.conditions.other_cores:.2f} cores. "
        f"{report.conditions.date}.",
        fontsize=7.5, color="#555555", x=0.02, ha="left",
    )  # fmt: skip
    figure.savefig(path, metadata={"Software": None})


def _draw_contenders(axes: "Axes", report: LatencyReport) -> None:
    """Bars to p50, whiskers to p90, and in full colour the networks' part."""
    # A whisker of a disturbed run may be many bars long: it leaves the picture, its label does not.
    slowest_ms = max(c.frame.p50_ms for c in report.contenders)
    edge_ms = min(1.25 * slowest_ms, max(c.frame.p90_ms for c in report.contenders))
    for row, contender in enumerate(report.contenders):
        frame, colour = contender.frame, _COLOURS[contender.kind]
        networks = contender.networks or report.contenders[0].networks
        axes.barh(row, frame.p50_ms, height=0.6, color=colour, alpha=0.4, linewidth=0)
        if networks is not None:
            axes.barh(row, min(networks.p50_ms, frame.p50_ms), height=0.6, color=colour)
        inside = frame.p90_ms <= edge_ms
        axes.plot(
            [frame.p50_ms, min(frame.p90_ms, edge_ms)], [row, row],
            color="#333333", linewidth=1.1, marker="|" if inside else ">", markevery=[-1],
            markersize=7 if inside else 5,
        )  # fmt: skip
        text = f"{_short(frame.p50_ms)} ms, p90 {_short(frame.p90_ms)}"
        if contender.frame_speedup is not None and contender.kind != "pytorch":
            text += f"   {contender.frame_speedup.median:.2f}x"
        end_ms = min(frame.p90_ms, edge_ms) + 0.02 * edge_ms
        axes.text(end_ms, row, text, va="center", fontsize=9)
    names = [CONTENDERS[contender.kind][0] for contender in report.contenders]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * edge_ms)
    meaning = "Milliseconds a frame: bar to the median, whisker to p90; dark: networks alone"
    if report.contenders[0].frame_speedup is not None:
        meaning += "; x: times faster than PyTorch"
    axes.set_title(meaning, fontsize=9, color="#555555", loc="left")
    _plain(axes)


def _draw_steps(axes: "Axes", report: LatencyReport) -> None:
    """One bar of all steps' medians; labels inside where they fit, in a legend anyway."""
    total_ms = sum(step.p50_ms for step in report.steps.values())
    left_ms = 0.0
    for index, (name, step) in enumerate(report.steps.items()):
        outside = name in ("preprocess", "postprocess")
        colour = "#b9b9b9" if outside else _STEP_COLOURS[index % len(_STEP_COLOURS)]
        axes.barh(
            0, step.p50_ms, left=left_ms, height=0.6, color=colour, edgecolor="white",
            label=f"{name} {_short(step.p50_ms)} ms",
        )  # fmt: skip
        left_ms += step.p50_ms
    axes.set_xlim(0, total_ms)
    axes.set_yticks([0], ["ckd chain"])
    axes.set_xlabel("milliseconds")
    axes.set_title("Where the chain's time goes (medians)", fontsize=9, color="#555555", loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.75), ncols=4, fontsize=8, frameon=False)
    _plain(axes)


def _short(time_ms: float) -> str:
    """Three figures, more for whole milliseconds."""
    return f"{time_ms:.{0 if time_ms >= 100 else 1 if time_ms >= 10 else 2}f}"


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])] if len(head) > 2 else ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _figures(latency: Latency) -> tuple[str, str, str, str]:
    taken_ms = latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.min_ms
    p50, p90, p99, low = (f"{value:.2f}" for value in taken_ms)
    return p50, p90, p99, low


def _speedup(contender: Contender, part: Literal["networks", "frame"]) -> str:
    if contender.kind == "pytorch":
        return "1"
    return _ratio(contender.networks_speedup if part == "networks" else contender.frame_speedup)


def _explained(contender: Contender) -> str:
    name, what = CONTENDERS[contender.kind]
    error = contender.logit_error
    if error is None or contender.kind == "chain":
        return f"* {name}: {what}."
    return f"* {name}: {what}; logits within {error:.0e} of the chain's."


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f}x ({ratio.p10:.2f} to {ratio.p90:.2f})"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
