"""Figures of an evaluation, drawn off screen without windows or global state.

Text that comes from outside (ids, labels, names of data sets) is never parsed as mathematics.
Suffixes: H rows, W columns, C channels in RGB order, K classes, N images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ckd.contract.whole_file import replacing
from ckd.scores.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve

Bools = NDArray[np.bool_]
Indices = NDArray[np.integer[Any]]
Reals = NDArray[np.floating[Any]]

#: Okabe and Ito's colours, which the colour-blind can tell apart; wine replaces their yellow, which
#: is faint on white paper. There are as many as ISIC 2019 has labels.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255",
)  # fmt: skip
GREY = "#8A8A8A"
_SHEET_COLUMNS = 6
_CAPTION: dict[str, Any] = {
    "xycoords": "axes fraction",
    "textcoords": "offset points",
    "ha": "center",
    "va": "top",
    "fontsize": 8.5,
    "parse_math": False,
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a contact sheet with the lines under it, the first of them bold."""

    picture_HWC: NDArray[np.uint8]
    lines: tuple[str, ...]


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure in the format that the file's suffix names; `OSError` if it cannot be."""
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=dpi)


def roc_figure(
    probabilities_NK: Reals,
    labels_N: Indices,
    names: Sequence[str],
    tasks: Sequence[str],
    title: str,
) -> Figure:
    """ROC curve of each class against the rest, with its AUC; ``tasks`` are bold."""

    def draw(axes: Axes, scores_N: Reals, positive_N: Bools) -> tuple[Line2D, str]:
        curve = roc_curve(scores_N, positive_N)
        line = axes.plot(curve.false_positive_rate_T, curve.true_positive_rate_T)[0]
        return line, f"AUC {roc_auc(scores_N, positive_N):.3f}"

    figure, axes = _square(title, "1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    _curves(draw, axes, probabilities_NK, labels_N, names, tasks)
    return figure


def precision_recall_figure(
    probabilities_NK: Reals,
    labels_N: Indices,
    names: Sequence[str],
    tasks: Sequence[str],
    title: str,
) -> Figure:
    """Precision against recall of each class, in steps whose area is AP; ``tasks`` are bold.

    The legend also gives each class's share of the images, which is the AP of guessing.
    """

    def draw(axes: Axes, scores_N: Reals, positive_N: Bools) -> tuple[Line2D, str]:
        curve = precision_recall_curve(scores_N, positive_N)
        line = axes.plot(curve.recall_T, curve.precision_T, drawstyle="steps-pre")[0]
        precision = average_precision(scores_N, positive_N)
        return line, f"AP {precision:.3f} (share {positive_N.mean():.2f})"

    figure, axes = _square(title, "recall (sensitivity)", "precision")
    _curves(draw, axes, probabilities_NK, labels_N, names, tasks)
    return figure


def jaccard_figure(jaccards: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Histogram of the images' Jaccard indices for each kind of mask, with the threshold 0.65."""
    figure = blank_figure(6.4, 4.2)
    axes = tidy(figure.add_subplot())
    handles: list[Artist] = []
    texts = []
    for index, (name, values) in enumerate(jaccards.items()):
        counts, edges = np.histogram(values, bins=20, range=(0.0, 1.0))
        style: dict[str, Any] = {"linewidth": 1.8} if index else {"fill": True, "alpha": 0.55}
        handles.append(axes.stairs(counts, edges, color=COLOURS[index], **style))
        share_below = np.mean(np.asarray(values) < 0.65)
        texts.append(f"{name}: mean {np.mean(values):.3f}, {share_below:.0%} below 0.65")
    handles.append(axes.axvline(0.65, color="black", linewidth=1.0, linestyle="--"))
    texts.append("0.65: the threshold Jaccard counts less as 0")
    axes.set(xlim=(0, 1), xlabel="Jaccard index", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=10, parse_math=False)
    _legend(axes, handles, texts)
    return figure


def contact_sheet(
    sections: Mapping[str, Sequence[Tile]],
    borders: Mapping[str, tuple[int, int, int]],
    title: str,
) -> Figure:
    """Pictures in rows of six under their section's heading, and a legend of the ``borders``."""
    rows = [-(-len(tiles) // _SHEET_COLUMNS) for tiles in sections.values()]
    heights = [0.6, *(0.4 + 2.75 * count for count in rows)]  # inches: title, then each section
    figure = blank_figure(2.35 * _SHEET_COLUMNS, sum(heights))
    head, *parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    head.text(0.012, 0.5, title, fontsize=12, va="center", parse_math=False)
    head.legend(
        [Line2D([], [], color=f"#{bytes(rgb).hex()}", linewidth=3.5) for rgb in borders.values()],
        list(borders),
        loc="center right",
        ncols=len(borders),
        fontsize=11,
        facecolor="#5B4A42",  # about as dark as the photographs that the colours are drawn on
        labelcolor="white",
        framealpha=1.0,
    )
    for part, (heading, tiles), num_rows in zip(parts, sections.items(), rows, strict=True):
        part.suptitle(heading, x=0.012, ha="left", fontsize=12, fontweight="bold")
        grid = part.subplots(num_rows, _SHEET_COLUMNS, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, tile in zip(grid, tiles, strict=False):
            axes.imshow(tile.picture_HWC)
            name, *rest = tile.lines
            axes.set_anchor("S")  # aligns the captions of a row
            for text, below_pt, weight in ((name, 4, "bold"), ("\n".join(rest), 16, "normal")):
                axes.annotate(text, (0.5, 0), (0, -below_pt), fontweight=weight, **_CAPTION)
    return figure


def blank_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that is drawn off screen."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _square(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure and its axes, both from 0 to 1."""
    figure = blank_figure(5.4, 5.4)
    axes = tidy(figure.add_subplot())
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=10, parse_math=False)
    return figure, axes


def tidy(axes: Axes) -> Axes:
    """Give the axes a light grid and remove the frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E3E3E3", linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def _curves(
    draw: Callable[[Axes, Reals, Bools], tuple[Line2D, str]],
    axes: Axes,
    probabilities_NK: Reals,
    labels_N: Indices,
    names: Sequence[str],
    tasks: Sequence[str],
) -> None:
    """Draw a curve for each class that some but not all images are of, and the legend."""
    lines, texts, bold = [], [], []
    for index, name in enumerate(names):
        positive_N = np.asarray(labels_N == index)
        if positive_N.all() or not positive_N.any():
            continue
        line, figure_text = draw(axes, probabilities_NK[:, index], positive_N)
        line.set(
            color=COLOURS[index % len(COLOURS)], linewidth=2.4 if name in tasks else 1.2,
            linestyle="-" if index < len(COLOURS) else "--",
        )  # fmt: skip
        lines.append(line)
        texts.append(f"{name}  {figure_text}")
        bold.append(name in tasks)
    for text, is_task in zip(_legend(axes, lines, texts).get_texts(), bold, strict=True):
        text.set_fontweight("bold" if is_task else "normal")


def _legend(axes: Axes, handles: Sequence[Artist], texts: Sequence[str]) -> Legend:
    legend = axes.legend(handles, texts, fontsize=9, framealpha=0.9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend
