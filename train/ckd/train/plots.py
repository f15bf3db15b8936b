"""Figures of an evaluation and of a run, drawn off screen: no window, no global state.

All text that comes from outside (ids, labels, data sets) is drawn as it is, never as mathematics.
Suffixes: H rows, W columns, C channels in RGB order, K classes, N images.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ckd.contract.metrics import average_precision, precision_recall_curve, roc_auc, roc_curve
from ckd.train.config import load_recipe

Reals = NDArray[np.floating[Any]]

#: Okabe and Ito's colours, told apart by the colour-blind too; yellow is left out, for white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY = "#8A8A8A"
_SHEET_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a contact sheet with the lines under it, the first of them bold."""

    picture_HWC: NDArray[np.uint8]
    lines: tuple[str, ...]


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure; the file's ending gives the format."""
    figure.savefig(path, dpi=dpi)


def roc_figure(
    probabilities_NK: Reals,
    labels_N: NDArray[np.integer[Any]],
    names: Sequence[str],
    tasks: Sequence[str],
    title: str,
) -> Figure | None:
    """ROC curve of each class against the rest, ``tasks`` bold; None if no class has both."""

    def draw(axes: Axes, scores_N: Reals, positive_N: NDArray[np.bool_]) -> tuple[Line2D, str]:
        curve = roc_curve(scores_N, positive_N)
        line = axes.plot(curve.false_positive_rate_T, curve.true_positive_rate_T)[0]
        return line, f"AUC {roc_auc(scores_N, positive_N):.3f}"

    figure, axes = _square(title, "false positive rate (1 - specificity)", "sensitivity")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    return _curves(figure, axes, draw, probabilities_NK, labels_N, names, tasks, "lower right")


def precision_recall_figure(
    probabilities_NK: Reals,
    labels_N: NDArray[np.integer[Any]],
    names: Sequence[str],
    tasks: Sequence[str],
    title: str,
) -> Figure | None:
    """Precision against recall of each class, drawn as the steps whose area is AP.

    The legend names each class's share of the images, which is the AP of guessing.
    """

    def draw(axes: Axes, scores_N: Reals, positive_N: NDArray[np.bool_]) -> tuple[Line2D, str]:
        curve = precision_recall_curve(scores_N, positive_N)
        line = axes.plot(curve.recall_T, curve.precision_T, drawstyle="steps-pre")[0]
        found = average_precision(scores_N, positive_N)
        return line, f"AP {found:.3f} (share {positive_N.mean():.2f})"

    figure, axes = _square(title, "recall (sensitivity)", "precision")
    return _curves(figure, axes, draw, probabilities_NK, labels_N, names, tasks, "best")


def jaccard_figure(jaccards: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Histogram of the images' Jaccard indices for each kind of mask, and the 0.65 threshold."""
    figure, axes = _figure((6.4, 4.2))
    handles, texts = [], []
    for index, (name, values) in enumerate(jaccards.items()):
        kind: Any = "stepfilled" if index == 0 else "step"
        handles.append(
            axes.hist(
                values, bins=np.linspace(0, 1, 21).tolist(), histtype=kind, color=COLOURS[index],
                alpha=0.55 if index == 0 else 1.0, linewidth=1.8,
            )[2][0]
        )  # fmt: skip
        failed = sum(value < 0.65 for value in values) / len(values)
        texts.append(f"{name}: mean {np.mean(values):.3f}, {failed:.0%} below 0.65")
    axes.axvline(0.65, color="black", linewidth=1.0, linestyle="--")
    axes.set(xlim=(0, 1), xlabel="Jaccard index", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=10, parse_math=False)
    _legend(axes, handles, texts, "upper left")
    return figure


def contact_sheet(
    sections: Mapping[str, Sequence[Tile]],
    borders: Mapping[str, tuple[int, int, int]],
    title: str,
) -> Figure:
    """Pictures in rows of six under their section's heading, and what the borders' colours mean."""
    rows = [-(-len(tiles) // _SHEET_COLUMNS) for tiles in sections.values()]
    # Inches: the heading and the legend, then for each section a heading and rows of pictures.
    heights = [0.8, *(0.45 + 2.75 * count for count in rows)]
    figure = Figure(figsize=(2.35 * _SHEET_COLUMNS, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    head, *parts = np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights))
    head.text(0.012, 0.7, title, fontsize=14, va="center", parse_math=False)
    handles = [
        Line2D([], [], color=tuple(value / 255 for value in rgb), linewidth=3.5)
        for rgb in borders.values()
    ]
    head.legend(
        handles, list(borders), loc="center right", ncols=len(borders), fontsize=11,
        facecolor="#5B4A42", labelcolor="white", framealpha=1.0,
    )  # fmt: skip
    for part, (heading, tiles), num_rows in zip(parts, sections.items(), rows, strict=True):
        part.suptitle(heading, x=0.012, ha="left", fontsize=12, fontweight="bold")
        grid = part.subplots(num_rows, _SHEET_COLUMNS, squeeze=False).flat
        for axes, tile in zip(grid, tiles, strict=False):
            axes.imshow(tile.picture_HWC)
            text = "\n".join(tile.lines[1:])
            axes.set_xlabel(text, fontsize=8.5, parse_math=False)
            axes.set_title(tile.lines[0], fontsize=9, fontweight="bold", parse_math=False)
        for index, axes in enumerate(grid_axes := part.axes):
            axes.set(xticks=[], yticks=[], frame_on=False, visible=index < len(tiles))
        del grid_axes
    return figure


def learning_curves(run: Path) -> Path | None:
    """Draw loss and validation scores of every stage into ``<run>/learning_curves.png``.

    None if nothing was logged yet. A stage that was resumed has several logs; of an epoch that
    was run again the later log counts.
    """
    stages = [stage.name for stage in load_recipe(run / "recipe.json").stages]
    logged = {name: table for name in stages if (table := _epochs(run / name / "logs"))}
    if not logged:
        return None
    figure = Figure(figsize=(1.0 + 3.6 * len(logged), 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(logged), squeeze=False)
    for (upper, lower), (stage, table) in zip(grid.T, logged.items(), strict=True):
        columns = sorted({name for row in table.values() for name in row})
        scores = [name for name in columns if name.startswith("val/")]
        for axes, names in ((upper, ["train/loss"]), (lower, scores)):
            for index, name in enumerate(names):
                points = [(e + 1, row[name]) for e, row in sorted(table.items()) if name in row]
                label = name.removeprefix("val/").replace("_", " ")
                marker = "o" if len(points) < 30 else ""
                axes.plot(
                    *zip(*points, strict=True), color=COLOURS[index], label=label, marker=marker,
                    markersize=3,
                )  # fmt: skip
            _tidy(axes)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("epoch")
        upper.set_title(stage, fontweight="bold")
        if scores:
            lower.legend(fontsize=8, framealpha=0.9)
        else:
            lower.text(0.5, 0.5, "trained blind", ha="center", color=_GREY)
    grid[0, 0].set_ylabel("training loss")
    grid[1, 0].set_ylabel("validation score")
    out = run / "learning_curves.png"
    save(figure, out)
    return out


def _epochs(logs: Path) -> dict[int, dict[str, float]]:
    """Logged figures by epoch (from 0) and name; later versions win."""
    table: dict[int, dict[str, float]] = {}
    files = logs.glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda path: int(path.parent.name.removeprefix("version_"))):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                # An empty cell was not logged at that step; a last line may be cut off.
                found = {n: float(v) for n, v in row.items() if v and n not in ("epoch", "step")}
                if row["epoch"]:
                    table.setdefault(int(row["epoch"]), {}).update(found)
    return table
