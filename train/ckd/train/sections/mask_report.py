"""What was fitted, as Markdown for a model card and as a picture."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.contract.confusion import confusion_from_masks
from ckd.finding.cleanup import MaskRule
from ckd.finding.outcome import OutcomeRule
from ckd.finding.overlay import COARSE_RGB, FINE_RGB, draw_border
from ckd.scores.shares import share_interval
from ckd.train.evaluation import plots
from ckd.train.evaluation.folder import TRUTH_RGB
from ckd.train.sections.mask import CleanedUp
from ckd.train.sections.outcome import KINDS, PHOTOGRAPH, Judged

_NAMES = {"no_skin": "a photograph of skin", "no_lesion": "a photograph of a lesion"}


def outcome_text(pictures: Sequence[Judged], codes: Sequence[str | None]) -> str:
    """How many pictures of each kind get an answer, counted by rules fitted without them."""
    lines = [
        "Share of pictures without an answer, by a rule that was fitted on other ones, with 95 % "
        "intervals. Pictures that are no photographs of the data set are counted once for each "
        "fold's networks, and things are crops of twenty pictures, so that their intervals are "
        "too narrow.",
        "",
        "| pictures | number | blank | no skin | no lesion | without an answer |",
        "|---|---|---|---|---|---|",
    ]
    rows = [("photographs", [one.kind == PHOTOGRAPH for one in pictures])]
    tones = sorted({one.group for one in pictures if one.kind == PHOTOGRAPH})
    rows += [
        (f"- {tone}", [one.kind == PHOTOGRAPH and one.group == tone for one in pictures])
        for tone in tones
    ]
    kinds = dict.fromkeys(one.kind for one in pictures if one.kind != PHOTOGRAPH)
    rows += [(kind, [one.kind == kind for one in pictures]) for kind in kinds]
    for name, chosen in rows:
        counts = Counter(code for code, is_in in zip(codes, chosen, strict=True) if is_in)
        total = sum(counts.values())
        without = total - counts[None]
        low, high = share_interval(without, total)
        share = f"{without / total:.1%} ({low:.1%} to {high:.1%})"
        cells = (name, total, counts["blank"], counts["no_skin"], counts["no_lesion"], share)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def outcome_figure(pictures: Sequence[Judged], rule: OutcomeRule, path: Path) -> None:
    """Distributions of both scores, with the score that keeps an answer."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (code, score) in zip(figure.subplots(1, 2), rule.scores.items(), strict=True):
        groups = {"photographs": [one for one in pictures if one.kind == PHOTOGRAPH]}
        for kind in KINDS[code]:
            groups[kind] = [one for one in pictures if one.kind == kind]
        values = {
            name: [score.of(one.answered.signs) - score.at_least for one in group]
            for name, group in groups.items()
        }
        edges = np.histogram_bin_edges(np.concatenate([*values.values()]), 60)
        for colour, (name, found) in zip(plots.COLOURS, values.items(), strict=False):
            density = np.full(len(found), 1 / max(1, len(found)))
            axes.hist(found, edges, weights=density, histtype="step", color=colour, label=name)
        axes.axvline(0, color=plots.GREY, linestyle="--")
        axes.set(title=f"Is it {_NAMES[code]}?", xlabel="score above the threshold", ylabel="share")
        axes.legend(fontsize=8)
    plots.save(figure, path)


@dataclass(frozen=True, slots=True)
class CleanedMask:
    """A photograph whose mask clean-up changes: uint8 RGB HWC, and masks of its size."""

    id: str
    image_HWC: NDArray[np.uint8]
    truth_HW: NDArray[np.bool_]
    raw_HW: NDArray[np.bool_]
    cleaned_HW: NDArray[np.bool_]


def mask_figure(masks: Sequence[CleanedMask], path: Path) -> None:
    """The photographs that lose most by clean-up, as they were given."""
    colours = {"truth": TRUTH_RGB, "as it came": COARSE_RGB, "cleaned up": FINE_RGB}
    shown = {"Lose most": [_tile(one) for one in masks]}
    plots.save(plots.contact_sheet(shown, colours, "Clean-up of masks"), path, dpi=120)


def _gain(mask: CleanedMask) -> float:
    raw, cleaned = (
        confusion_from_masks(one, mask.truth_HW).jaccard for one in (mask.raw_HW, mask.cleaned_HW)
    )
    return cleaned - raw


def _tile(mask: CleanedMask) -> plots.Tile:
    canvas_HWC = mask.image_HWC.copy()
    thick = max(1, min(canvas_HWC.shape[:2]) // 128)
    draw_border(canvas_HWC, mask.truth_HW, TRUTH_RGB, 2 * thick)
    draw_border(canvas_HWC, mask.raw_HW, COARSE_RGB, 2 * thick)
    draw_border(canvas_HWC, mask.cleaned_HW, FINE_RGB, thick)
    return plots.Tile(canvas_HWC, (mask.id, f"Jaccard {_gain(mask):+.3f}"))


def mask_text(table: Sequence[CleanedUp], chosen: MaskRule) -> str:
    """What each rule of clean-up does."""
    lines = [
        "Means over the same photographs; the boundary distance is the 95 % Hausdorff distance in "
        "hundredths of the photograph's diagonal.",
        "",
        "| rule | Jaccard | boundary | loses most on |",
        "|---|---|---|---|",
    ]
    for row in table:
        worse = ", ".join(f"{name} ({-loss:.3f})" for name, loss in row.losses[:5])
        mark = " (taken)" if row.rule == chosen else ""
        lines.append(
            f"| {rule_text(row.rule)}{mark} | {row.jaccard:.4f} | {row.boundary:.2f} | {worse} |"
        )
    if chosen == MaskRule():
        lines += ["", "No rule gains enough, so masks are given as they come."]
    return "\n".join(lines)


def rule_text(rule: MaskRule) -> str:
    """A rule in words."""
    words = []
    if rule.fills_holes:
        words.append("holes filled")
    if rule.least_share == 1:
        words.append("largest part only")
    elif rule.least_share:
        words.append(f"parts of {rule.least_share:.0%} of the largest or more")
    if rule.least_fraction:
        words.append(f"parts of {rule.least_fraction:.2%} of the picture or more")
    return ", ".join(words) or "none"
