"""The picture of a measurement on a GPU: one row of bars for each race."""

from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ckd.benchmarks.gpu.report import GpuReport, Race
from ckd.contract.whole_file import replacing

_OURS: Final = "#0b6e7f"
_PEER: Final = "#c8792f"


def write_gpu_picture(report: GpuReport, path: Path) -> None:
    """Draw a report into a PNG file."""
    races = [race for race in report.races if race.results]
    rows = sum(len(race.results) for race in races)
    figure = Figure(figsize=(9.0, 1.6 + 1.0 * len(races) + 0.34 * rows), dpi=150)
    FigureCanvasAgg(figure)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1))
    figure.suptitle(
        f"Cascades on {report.device.name}", fontsize=13, fontweight="bold", x=0.02, ha="left"
    )
    if races:
        heights = [len(race.results) + 1 for race in races]
        drawn = figure.subplots(len(races), 1, squeeze=False, height_ratios=heights)
        for (axes,), race in zip(drawn, races, strict=True):
            _draw(axes, race)
    figure.supxlabel(
        "Full colour: time on the device; pale: wall time of the call; black: what no way to run "
        "it in this precision can undercut.\n"
        f"Medians, contenders in turn, untrained weights. {report.conditions.date}.",
        fontsize=7.5, color="#555555", x=0.02, ha="left",
    )  # fmt: skip
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], metadata={"Software": None})


def _draw(axes: Axes, race: Race) -> None:
    longest_ms = max(result.wall.p50_ms for result in race.results)
    for row, result in enumerate(race.results):
        colour = _OURS if result.name.startswith("ckd") else _PEER
        wall_ms, device_ms = result.wall.p50_ms, min(result.device.p50_ms, result.wall.p50_ms)
        axes.barh(row, wall_ms, height=0.65, color=colour, alpha=0.4, linewidth=0)
        axes.barh(row, device_ms, height=0.65, color=colour, linewidth=0)
        if result.floor is not None:
            axes.plot([result.floor.ms] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1.6)
        text = f"{wall_ms:.2f} ms"
        if result.speedup is not None:
            text += f"   {result.speedup.median:.2f}x"
        axes.text(wall_ms + 0.01 * longest_ms, row, text, va="center", fontsize=8)
    axes.set_yticks(range(len(race.results)), [result.name for result in race.results], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.22 * longest_ms)
    axes.set_title(race.title, fontsize=9, loc="left")
    axes.set_xlabel("ms a batch", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
