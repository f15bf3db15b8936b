"""A comparison written as JSON, as a table, and as a picture of latency against accuracy lost."""

import json
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from ckd.benchmarks.compare import NNCF, REFERENCE, Comparison, Entrant
from ckd.benchmarks.markdown import table
from ckd.calibration.cost import Cost
from ckd.contract.whole_file import replace_file, replacing

_COLOURS = {"ckd": "#0b6e7f", "peer": "#c8792f"}

_MARKERS = "os^DvP*X<>"

_HEAD = (
    "", "networks", "whole frame", "p90", "times PyTorch", "frame", "Jaccard lost", "AUC lost",
    "changed (95 %)",
)  # fmt: skip


def to_json(comparison: Comparison) -> str:
    """Everything, times in milliseconds."""
    return json.dumps({"schema": 1, "measured": "compare", **asdict(comparison)}, indent=1) + "\n"


def to_markdown(comparison: Comparison) -> str:
    """A table for people, with the machine and what disturbed the measurement."""
    lines = [
        f"# {comparison.bundle.partition('@')[0]}: backends and precisions",
        "",
        "Medians, one 1920x1080 frame; all in turn in one run. Times PyTorch: median of the ratios "
        "of neighbouring calls, networks alone and whole frame.",
        "",
        table(_HEAD, [_row(entrant) for entrant in comparison.entrants]),
    ]
    data = f" Accuracy against PyTorch on {comparison.data}." if comparison.data else ""
    one = comparison.entrants[0].frame
    where = f"{comparison.machine.cpu}, {comparison.threads} threads"
    ratios = [
        f"{entrant.name} {entrant.nncf_speedup.median:.2f}x"
        for entrant in comparison.entrants
        if entrant.nncf_speedup is not None and entrant.name != NNCF
    ]
    if ratios:
        lines += ["", f"Times NNCF's default INT8, networks alone: {', '.join(ratios)}."]
    lines += [
        "",
        f"Weights: {comparison.weights}.{data} {where}; "
        f"{one.runs} turns after {one.warmup} for warm-up. Other processes used "
        f"{comparison.conditions.other_cores:.2f} cores. {comparison.conditions.date}.",
        "",
        f"`{comparison.conditions.command}`",
        "",
        ", ".join(f"{name} {version}" for name, version in comparison.machine.versions.items()),
    ]
    return "\n".join(lines) + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> list[str]:
    """Write ``compare.json``, ``compare.md`` and ``compare.png``; their names are returned."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "compare.json", to_json(comparison).encode())
    replace_file(folder / "compare.md", to_markdown(comparison).encode())
    with replacing(folder / "compare.png") as file:
        _picture(comparison).savefig(file, format="png", dpi=150, metadata={"Software": None})
    return ["compare.json", "compare.md", "compare.png"]


def _row(entrant: Entrant) -> tuple[str, ...]:
    return (
        entrant.name,
        f"{entrant.networks.p50_ms:.1f} ms",
        f"{entrant.frame.p50_ms:.1f} ms",
        f"{entrant.frame.p90_ms:.1f} ms",
        f"{entrant.networks_speedup.median:.2f}x",
        f"{entrant.frame_speedup.median:.2f}x",
        *_lost(entrant.cost),
    )


def _lost(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["", "", ""]
    auc = ", ".join(f"{task} {loss:.4f}" for task, loss in cost.auc.items())
    return [
        "-" if cost.jaccard is None else f"{cost.jaccard:.4f}",
        auc,
        cost.flips_in_words(),
    ]


def _picture(comparison: Comparison) -> Figure:
    """Latency against Jaccard lost, or bars of latency where no accuracy was measured."""
    figure = Figure((9.0, 6.0), layout="constrained")
    axes = figure.subplots()
    colours = [_COLOURS["ckd" if e.name.startswith("ckd") else "peer"] for e in comparison.entrants]
    frame_ms = [entrant.frame.p50_ms for entrant in comparison.entrants]
    lost = [e.cost.jaccard if e.cost is not None else None for e in comparison.entrants]
    if all(loss is not None for loss in lost):
        # Several lose nothing at all, side by side: names at the points would run into each other.
        for entrant, x, y, colour, marker in zip(
            comparison.entrants, frame_ms, lost, colours, cycle(_MARKERS), strict=False
        ):
            axes.scatter(x, y or 0.0, c=colour, marker=marker, s=70, alpha=0.8, label=entrant.name)
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        axes.set_xlim(0.0, 1.05 * max(frame_ms))
        axes.margins(y=0.1)
        axes.set_ylabel(f"Jaccard lost against {REFERENCE}")
        axes.axhline(0.0, color="#999999", linewidth=0.8)
    else:
        axes.barh([entrant.name for entrant in comparison.entrants], frame_ms, color=colours)
        axes.invert_yaxis()
    axes.set_xlabel("one 1920x1080 frame, ms (median)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{comparison.bundle.partition('@')[0]} on {comparison.machine.cpu}", fontsize=10
    )
    return figure
