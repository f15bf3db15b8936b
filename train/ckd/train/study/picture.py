"""The picture of a study: a dot for every fold of every row, and a line at their mean."""

from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ckd.train.evaluation.plots import COLOURS, GREY
from ckd.train.study.rows import HEADLINES, Row

_ROW_INCHES = 0.27


def study_figure(title: str, rows: Sequence[Row]) -> Figure | None:
    """One panel for each of `HEADLINES`, with a line of dots for each row that has the figure.

    Candidates are bold, and a dashed line is at the mean of the first one, to which the others are
    to be compared. Text is never parsed as mathematics. None if no row has such a figure.
    """
    panels = {
        name: shown
        for name in HEADLINES
        if (shown := [row for row in rows if row.values(row.headline(name))])
    }
    if not panels:
        return None
    figure = Figure(
        figsize=(5.6 * len(panels), 1.6 + _ROW_INCHES * max(map(len, panels.values()))),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    folds = sorted({k for row in rows for k in row.folds})
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, shown) in zip(all_axes, panels.items(), strict=True):
        for height, row in enumerate(shown):
            key = row.headline(name)
            for k in folds:
                if (value := row.folds.get(k, {}).get(key)) is not None:
                    colour = COLOURS[folds.index(k) % len(COLOURS)]
                    axes.plot(value, height, "o", color=colour, markersize=5, alpha=0.8)
            axes.plot(row.mean(key), height, "|", color="black", markersize=14)
        control = shown[0]
        axes.axvline(control.mean(control.headline(name)), color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(shown)), [row.name for row in shown], parse_math=False)
        for label, row in zip(axes.get_yticklabels(), shown, strict=True):
            label.set_fontweight("bold" if row.kind == "candidate" else "normal")
            label.set_fontsize(8)
        axes.invert_yaxis()
        axes.set_xlabel(name.replace("_", " "))
        axes.grid(axis="x", alpha=0.3)
    for number, k in enumerate(folds):
        all_axes[0].plot([], [], "o", color=COLOURS[number % len(COLOURS)], label=f"fold {k}")
    all_axes[0].plot([], [], "|", color="black", markersize=10, label="mean")
    all_axes[0].legend(fontsize=8, loc="best")
    return figure
