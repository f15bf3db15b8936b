"""What was fitted to decide by, as pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ckd.contract.labels import lesion_name
from ckd.scores.ranking import roc_curve
from ckd.scores.reliability import reliability_bins, top_label
from ckd.train.evaluation import plots
from ckd.train.sections.decision import Decided
from ckd.train.sections.held import known


def probabilities_figure(decided: Decided) -> Figure:
    """Reliability before and after, of the most probable label and of the target."""
    held = decided.held
    column = held.labels.index(decided.points.target)
    shown = (decided.compared[0], decided.taken)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row, colour in zip(shown, plots.COLOURS, strict=False):
        name = "as they come" if row.name == "none" else row.name
        pairs = (
            top_label(held.truth_NK, row.probabilities_NK),
            (held.truth_NK[:, column], row.probabilities_NK[:, column]),
        )
        for axes, (positive_N, probability_N) in zip((left, right), pairs, strict=True):
            bins = reliability_bins(positive_N, probability_N)
            said, happened = [one.said for one in bins], [one.happened for one in bins]
            axes.plot(said, happened, marker="o", markersize=4, color=colour, label=name)
    for axes, title in (
        (left, "Most probable label"), (right, lesion_name(decided.points.target))
    ):  # fmt: skip
        axes.plot([0, 1], [0, 1], color=plots.GREY, linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="probability said", ylabel="share that is true")
        axes.legend(fontsize=8)
    return figure


def points_figure(decided: Decided) -> Figure:
    """The target's ROC curve with the operating points, on the photographs of the fit."""
    held, points = decided.held, decided.points
    column = held.labels.index(points.target)
    probability_N = decided.rule.probabilities(held.logits_NK)[:, column]
    curve = roc_curve(probability_N, held.truth_NK[:, column])
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.false_positive_rate_T, curve.true_positive_rate_T, color=plots.COLOURS[0])
    for (name, point), marker in zip(points.points.items(), "osD", strict=True):
        place = (1 - point.specificity, point.sensitivity)
        axes.plot(*place, marker, color=plots.COLOURS[1], label=f"{name}, {point.at_least:.3f}")
    axes.set(
        title=f"Operating points for {lesion_name(points.target)}, as fitted",
        xlabel="1 - specificity", ylabel="sensitivity",
    )  # fmt: skip
    axes.legend(fontsize=8, loc="lower right")
    return figure


def refer_figure(decided: Decided) -> Figure:
    """Missed targets against photographs that are not referred; distances by kind if known."""
    near = known(decided.held.distance_N)
    num_panels = 2 if len(near) else 1
    figure = Figure(figsize=(4.5 * num_panels, 4), layout="constrained")
    left, *others = figure.subplots(1, num_panels, squeeze=False)[0]
    _risk_coverage(decided, left)
    if not others:
        return figure
    right = others[0]
    groups = {"photographs": near, **{kind: np.array(v) for kind, v in decided.unlike.items()}}
    right.boxplot([*groups.values()], orientation="horizontal", tick_labels=[*groups], whis=(1, 99))
    if decided.doubts.unlike_above is not None:
        right.axvline(decided.doubts.unlike_above, color=plots.GREY, linestyle="--")
    right.set(title="Distance from training photographs", xlabel="standard deviations")
    return figure


def _risk_coverage(decided: Decided, axes: Axes) -> None:
    """Refer the most probable targets first: what is missed among those that are kept."""
    held = decided.held
    column = held.labels.index(decided.points.target)
    probabilities_NK = decided.taken.probabilities_NK
    order = np.argsort(probabilities_NK[:, column], kind="stable")
    missed = np.cumsum(held.truth_NK[order, column])
    kept = np.arange(1, len(order) + 1)
    axes.plot(kept / len(order), missed / kept, color=plots.COLOURS[0], label="by probability")
    referred_N = np.any([*decided.codes_apart.values()], axis=0)
    own = held.truth_NK[~referred_N, column]
    if len(own):
        axes.plot((~referred_N).mean(), own.mean(), "o", color=plots.COLOURS[1], label="as decided")
    name = lesion_name(decided.points.target)
    axes.set(
        title=f"Missed {name} among those not referred",
        xlabel="share not referred", ylabel=f"share of {name} among them", xlim=(0, 1),
    )  # fmt: skip
    axes.legend(fontsize=8)


FIGURES: Mapping[str, Callable[[Decided], Figure]] = {
    "probabilities": probabilities_figure,
    "points": points_figure,
    "refer": refer_figure,
}


def write_figure(name: str, decided: Decided, path: Path) -> None:
    """Write the figure of a section, if it has one."""
    if name in FIGURES:
        plots.save(FIGURES[name](decided), path)
