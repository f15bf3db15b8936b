"""The picture of a latency report: contenders as bars, and the steps of the chain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ckd.benchmarks.report import CONTENDERS, Kind, LatencyReport
from ckd.contract.whole_file import replacing

_COLOURS: Final[Mapping[Kind, str]] = {
    "chain": "#0b6e7f", "jpeg": "#5ba3ae", "fused": "#7b6ba8", "pytorch": "#c8792f",
}  # fmt: skip
_STEP_COLOURS: Final = ("#0b6e7f", "#3f93a1", "#7bb8c1", "#b5d8dc", "#5a6f9c", "#8c9dc2")


def write_picture(report: LatencyReport, path: Path) -> None:
    """Draw a report into a PNG file."""
    count = len(report.contenders)
    figure = Figure(figsize=(9.0, 3.2 + 0.5 * count), dpi=150)
    FigureCanvasAgg(figure)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.18, h_pad=0.08))
    bars, steps = figure.subplots(2, 1, height_ratios=(count, 1.0))
    figure.suptitle(
        f"{report.bundle.partition('@')[0]}: one 1920x1080 frame on {report.place}",
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
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], metadata={"Software": None})


def _draw_contenders(axes: Axes, report: LatencyReport) -> None:
    """Draw bars to p50, whiskers to p90, and in full colour the networks' part."""
    # A whisker of a disturbed run may be many bars long: it is cut at the edge, its label stays.
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


def _draw_steps(axes: Axes, report: LatencyReport) -> None:
    """Draw one bar of all steps' medians, with a legend."""
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
    """Three significant figures, or all digits of whole milliseconds."""
    return f"{time_ms:.{0 if time_ms >= 100 else 1 if time_ms >= 10 else 2}f}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
