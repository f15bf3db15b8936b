"""The sections that rest on masks: fitted in one look at the photographs of all folds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ckd.console import Bars
from ckd.contract.whole_file import replace_file
from ckd.data.masks import read_mask
from ckd.data.skin_tone import tone_of, typology_angle
from ckd.finding.cleanup import MaskRule
from ckd.train.sections.answered import Fold, answered, kept_answer
from ckd.train.sections.mask import Tried, best_rule, compare_rules, try_rules
from ckd.train.sections.mask_report import (
    CleanedMask,
    mask_figure,
    mask_text,
    outcome_figure,
    outcome_text,
)
from ckd.train.sections.outcome import PHOTOGRAPH, Judged, codes_in_turn, fit_outcome
from ckd.train.sections.pictures import blank_pictures, other_pictures

OF_MASKS: Final = ("outcome", "mask")
_DRAWN: Final = 6


@dataclass(slots=True)
class _Gathered:
    """What all folds said: figures only, however large the photographs are."""

    pictures: list[Judged] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)


def fit_masks(
    folds: Sequence[Fold], names: Sequence[str], made: str, out: Path, bars: Bars
) -> dict[str, Any]:
    """Fit the named sections, write their texts and pictures, and return their rules by name.

    Args:
        folds: whose networks make fine masks.
        names: some of `OF_MASKS`.
        made: sentence that says on what was fitted.
        out: folder for ``NAME.md`` and ``NAME.png``.
        bars: begins bars for each fold.
    """
    gathered, rules = _Gathered(), dict[str, Any]()
    for fold in folds:
        _look_at_photographs(fold, gathered, names, bars)
        if "outcome" in names:
            gathered.pictures += _look_at_others(fold, bars)
    if "outcome" in names:
        rules["outcome"] = rule = fit_outcome(gathered.pictures)
        text = outcome_text(gathered.pictures, codes_in_turn(gathered.pictures))
        outcome_figure(gathered.pictures, rule, out / "outcome.png")
        replace_file(out / "outcome.md", f"{text}\n\n{made}\n".encode())
    if "mask" in names:
        table = compare_rules(gathered.tried)
        # Also a rule that does nothing, so that it replaces an earlier one.
        rules["mask"] = chosen = best_rule(table)
        losses = next(row.losses for row in table if row.rule == chosen)[:_DRAWN]
        if losses:
            mask_figure(_drawn(folds, losses, chosen), out / "mask.png")
        replace_file(out / "mask.md", f"{mask_text(table, chosen)}\n\n{made}\n".encode())
    return rules


def _look_at_photographs(fold: Fold, gathered: _Gathered, only: Sequence[str], bars: Bars) -> None:
    progress = bars(f"{fold.name}: photographs")
    rows = [row for row, sample in enumerate(fold.held_out) if sample.mask is not None]
    for number, row in enumerate(rows, start=1):
        sample = fold.held_out[row]
        image_HWC, mask_HW, picture = kept_answer(fold, row)
        assert sample.mask is not None
        truth_HW = read_mask(sample.mask, mask_HW.shape)
        tone = tone_of(typology_angle(image_HWC, truth_HW))
        source = sample.group or sample.id
        gathered.pictures.append(Judged(PHOTOGRAPH, source, tone, picture))
        if "mask" in only:
            gathered.tried.append(try_rules(sample.id, mask_HW, truth_HW))
        progress(number, len(rows))


def _look_at_others(fold: Fold, bars: Bars) -> list[Judged]:
    progress = bars(f"{fold.name}: other pictures")
    samples = [sample for sample in fold.held_out if sample.mask is not None]
    others = [*other_pictures(samples), *blank_pictures()]
    judged = []
    said = answered(fold.system, (other.image_HWC for other in others))
    for number, (other, (_, _, picture)) in enumerate(zip(others, said, strict=True), start=1):
        judged.append(Judged(other.kind, other.source, other.kind, picture))
        progress(number, len(others))
    return judged


def _drawn(
    folds: Sequence[Fold], losses: Sequence[tuple[str, float]], rule: MaskRule
) -> list[CleanedMask]:
    """The photographs of these ids, in this order, with their masks before and after clean-up."""
    drawn = []
    for name, _ in losses:
        fold, row = next(
            (fold, row) for fold in folds for row, one in enumerate(fold.held_out) if one.id == name
        )
        sample = fold.held_out[row]
        image_HWC, mask_HW, _ = kept_answer(fold, row)
        assert sample.mask is not None
        truth_HW = read_mask(sample.mask, mask_HW.shape)
        drawn.append(CleanedMask(name, image_HWC, truth_HW, mask_HW, rule.apply(mask_HW)))
    return drawn
