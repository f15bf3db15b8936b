"""The report of `ckd-bench settling`: a table, and a picture of pans that waver most."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.markdown import machine_rows, rounded, table
from ckd.benchmarks.settling import FPS, Pan, Settling
from ckd.contract.whole_file import replace_file
from ckd.train.evaluation import plots

#: Pans that the picture shows.
_SHOWN = 4


def to_markdown(figures: Settling, machine: Machine, during: Conditions) -> str:
    """The report as it is committed."""
    low, high = figures.auc_gain
    half, late = figures.settled_s
    rows = [
        ("AUC of the target", f"{figures.auc_single:.3f}", f"{figures.auc_pooled:.3f}"),
        (
            "AUC, the half whose frames differ most",
            *(f"{value:.3f}" for value in figures.auc_apart),
        ),
        ("changes of the decision in a second", f"{figures.flips_single:.3f}",
         f"{figures.flips_pooled:.3f}"),
        ("Jaccard index of the fine mask", f"{figures.jaccard_single:.3f}",
         f"{figures.jaccard_pooled:.3f}"),
    ]  # fmt: skip
    looked = (
        f"{figures.num_photographs} photographs, {figures.num_frames} frames of each at {FPS} a "
        f"second and {figures.side_px} px, by a hand that drifts, turns, zooms and flickers."
    )
    told = (
        f"The AUC is of the {figures.num_answered} with an answer at the end, and that of the "
        "settled answer at the last frame; the difference has the interval "
        f"{low:+.3f} to {high:+.3f} (95 %, bootstrap over photographs). It is settled after "
        f"{half:.2f} s (median; nine of ten after {late:.2f} s); {figures.never_settled} never "
        f"were. {figures.unjudged:.1%} of the frames could not be pooled, for a hint or no answer. "
        f"Of {figures.two_lesions} pans from one photograph to another {figures.two_pooled} pooled "
        f"both. Settling takes {figures.taken_ms:.2f} ms a frame, and "
        f"{figures.taken_1080p_ms:.2f} ms at 1920x1080 (medians)."
    )
    blocks = (
        f"# An answer that settles: {figures.bundle}", looked,
        table(("", "single frames", "settled"), rows), told,
        table(("measured", "on"), machine_rows(machine, during)),
    )  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def write_settling(
    figures: Settling, pans: Sequence[Pan], machine: Machine, during: Conditions, out: Path
) -> list[str]:
    """Write settling.json, settling.md and settling.png; gives their names."""
    replace_file(out / "settling.md", to_markdown(figures, machine, during).encode())
    content = json.dumps(rounded(figures.as_dict()), indent=2) + "\n"
    replace_file(out / "settling.json", content.encode())
    _draw(pans, out / "settling.png")
    return ["settling.json", "settling.md", "settling.png"]


def _draw(pans: Sequence[Pan], path: Path) -> None:
    """The pans whose single frames waver most: probability of the target over time."""
    wavering = sorted(pans, key=lambda pan: -float(np.nanstd(pan.single)))[:_SHOWN]
    figure = Figure(figsize=(9.0, 2.0 * len(wavering)), layout="constrained")
    rows = figure.subplots(len(wavering), 1, squeeze=False)[:, 0]
    for axes, pan in zip(rows, wavering, strict=True):
        seconds = np.arange(len(pan.single)) / FPS
        axes.plot(seconds, pan.single, ".", color="#c8792f", ms=4, label="single frame")
        axes.plot(seconds, pan.pooled, color="#0b6e7f", lw=2, label="settled")
        axes.set_ylim(0, 1)
        axes.set_title(f"{pan.id}{' (target)' * pan.is_target}", fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("seconds")
    axes.legend(fontsize=8, frameon=False)
    plots.save(figure, path)
