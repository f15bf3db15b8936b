"""The report of `ckd-bench settling`: a table, and a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.markdown import estimate_text, machine_rows, rounded, table
from ckd.benchmarks.settling import FPS, Pan, Settling
from ckd.contract.whole_file import replace_file


def to_markdown(figures: Settling, machine: Machine, during: Conditions) -> str:
    """The report as it is committed."""
    low, high = figures.auc_gain
    half, late = figures.settled_s
    rows = [
        ("AUC of the target", estimate_text(figures.auc_single), estimate_text(figures.auc_pooled)),
        (
            "AUC, the half whose frames differ most",
            *map(estimate_text, figures.auc_apart),
        ),
        ("changes of the decision in a second", f"{figures.flips_single:.3f}",
         f"{figures.flips_pooled:.3f}"),
        ("Jaccard index of the fine mask", estimate_text(figures.jaccard_single),
         estimate_text(figures.jaccard_pooled)),
    ]  # fmt: skip
    looked = (
        f"{figures.num_photographs} photographs, {figures.num_frames} frames of each at {FPS} a "
        f"second and {figures.side_px} px, by a hand that drifts, turns, zooms and flickers."
    )
    told = (
        f"The AUC is of the {figures.num_answered} with an answer at the end, and that of the "
        "settled answer at the last frame; the difference has the interval "
        f"{estimate_text(low, '+.3f')} to {estimate_text(high, '+.3f')} (95 %, bootstrap over "
        f"photographs). It is settled after {estimate_text(half, '.2f')} s (median; nine of ten "
        f"after {estimate_text(late, '.2f')} s); {figures.never_settled} never "
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
    """Write settling.json, settling.md and, with matplotlib, settling.png; gives their names."""
    replace_file(out / "settling.md", to_markdown(figures, machine, during).encode())
    content = json.dumps(rounded(figures.as_dict()), indent=2) + "\n"
    replace_file(out / "settling.json", content.encode())
    written = ["settling.json", "settling.md"]
    try:
        from ckd.benchmarks.settling_picture import write_picture
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        return written
    write_picture(figures, pans, out / "settling.png")
    return [*written, "settling.png"]
