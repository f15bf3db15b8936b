"""Pictures of what precision costs."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ckd.calibration.sensitivity import Effect
from ckd.contract.whole_file import replacing

_COLOURS = {"network": "#1b6ca8", "part": "#7fb3d5", "edge": "#e0a030"}


def plot_sensitivity(effects: Sequence[Effect], path: Path, title: str) -> None:
    """Bars by network, part and edge: what INT8 there does to probabilities and to masks."""
    columns = {
        "mean shift of a probability": [e.probability_shift for e in effects],
        "1 - Jaccard of the masks": [e.mask_change for e in effects],
    }
    shown = {name: values for name, values in columns.items() if set(values) != {None}}
    figure = Figure((4.0 + 3.5 * len(shown), 1.2 + 0.2 * len(effects)), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axis, (name, values) in zip(axes, shown.items(), strict=True):
        colours = [_COLOURS[effect.kind] for effect in effects]
        axis.barh(range(len(effects)), [value or 0.0 for value in values], color=colours)
        axis.set_xlabel(name)
        axis.margins(y=0.01)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(effects)), [effect.name for effect in effects], fontsize=7)
    axes[0].invert_yaxis()
    axes[-1].legend(handles=[Patch(color=c, label=kind) for kind, c in _COLOURS.items()])
    figure.suptitle(f"{title}: INT8 in one place, float32 in all others")
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=130)
