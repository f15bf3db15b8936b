"""Curves of a training: loss and validation scores by epoch, read from Lightning's logs."""

import contextlib
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ckd.train.evaluation import plots
from ckd.train.recipes.text import load_recipe


def learning_curves(run: Path) -> Path | None:
    """Draw loss and validation scores of every stage into ``<run>/learning_curves.png``.

    None if nothing was logged yet. A stage that was resumed has several logs; if they share an
    epoch, the later log counts. The row of scores is left out if no stage was validated.
    """
    stages = [stage.name for stage in load_recipe(run / "recipe.json").stages]
    logged = {name: table for name in stages if (table := _epochs(run / name / "logs"))}
    if not logged:
        return None
    scores = {
        stage: sorted({name for row in table.values() for name in row if name.startswith("val/")})
        for stage, table in logged.items()
    }
    num_rows = 2 if any(scores.values()) else 1
    figure = plots.blank_figure(1.0 + 3.6 * len(logged), 3.0 * num_rows)
    grid = figure.add_gridspec(num_rows, len(logged))
    for column, (stage, table) in enumerate(logged.items()):
        upper = figure.add_subplot(grid[0, column])
        upper.set_title(stage, fontweight="bold")
        upper.set_ylabel("training loss")
        _plot_epochs(upper, table, ["train/loss"])
        if scores[stage]:
            lower = figure.add_subplot(grid[1, column])
            lower.set_ylabel("validation score")
            _plot_epochs(lower, table, scores[stage])
            lower.legend(fontsize=8, framealpha=0.9)
    out = run / "learning_curves.png"
    plots.save(figure, out)
    return out


def _plot_epochs(axes: Axes, table: dict[int, dict[str, float]], names: Sequence[str]) -> None:
    plots.tidy(axes).xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    for index, name in enumerate(names):
        points = [(epoch + 1, row[name]) for epoch, row in sorted(table.items()) if name in row]
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            color=plots.COLOURS[index % len(plots.COLOURS)],
            linestyle="-" if index < len(plots.COLOURS) else "--",
            marker="o" if len(points) < 30 else "",
            markersize=3,
            label=name.partition("/")[2].replace("_", " "),
        )


def _epochs(logs: Path) -> dict[int, dict[str, float]]:
    """Logged values by epoch (from 0) and name; those of later versions replace earlier ones."""
    table: dict[int, dict[str, float]] = {}
    files = logs.glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda path: int(path.parent.name.removeprefix("version_"))):
        text = file.read_bytes().decode(errors="replace").replace("\0", "")
        with io.StringIO(text, newline="") as lines:
            for row in csv.DictReader(lines):
                # A cell is empty if its value was not logged at that step. The last line of a run
                # that was killed may be incomplete, and blank after a loss of power.
                with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
                    values = {name: float(text) for name, text in row.items() if text}
                    table.setdefault(int(values["epoch"]), {}).update(values)
    return table
