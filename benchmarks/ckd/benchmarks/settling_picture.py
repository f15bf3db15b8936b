"""The picture of `ckd-bench settling`: the pans whose decision changes most, over time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ckd.benchmarks.settling import FPS, Pan, Settling, changes
from ckd.train.evaluation import plots

_SHOWN = 4


def write_picture(figures: Settling, pans: Sequence[Pan], path: Path) -> None:
    """Probabilities of the target by single frames and settled, with the threshold."""
    chosen = sorted(pans, key=lambda pan: (-changes(pan.refers[0]), -float(np.nanstd(pan.single))))[
        :_SHOWN
    ]
    figure = Figure(figsize=(9.0, 2.1 * len(chosen)), layout="constrained")
    rows = figure.subplots(len(chosen), 1, squeeze=False, sharex=True)[:, 0]
    for axes, pan in zip(rows, chosen, strict=True):
        seconds = np.arange(len(pan.single)) / FPS
        axes.fill_between(
            seconds, 0, 1, where=np.isnan(pan.jaccard[0]), step="mid", color=plots.GREY,
            alpha=0.2, linewidth=0, label="frame not pooled",
        )  # fmt: skip
        axes.axhline(figures.threshold, color=plots.GREY, lw=1, ls="--", label="threshold")
        axes.plot(seconds, pan.single, ".", color=plots.COLOURS[1], ms=4, label="single frame")
        axes.plot(seconds, pan.pooled, color=plots.COLOURS[0], lw=2, label="settled")
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"probability of {figures.target}", fontsize=8)
        what = figures.target if pan.is_target else f"no {figures.target}"
        counts = " and ".join(str(changes(row)) for row in pan.refers)
        axes.set_title(
            f"{pan.id}, {what}: {counts} changes of the decision, single and settled",
            fontsize=9, loc="left", parse_math=False,
        )  # fmt: skip
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("seconds")
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=4,
                  fontsize=8, frameon=False)  # fmt: skip
    plots.save(figure, path)
