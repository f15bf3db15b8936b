"""Fits the sections of a bundle on photographs that each fold's networks were not trained on.

outcome.md     what was fitted on what, with error rates, for the model card
outcome.png    the scores of photographs and of other pictures
mask.md        what each rule of clean-up does
mask.png       the photographs that lose most by the rule that was taken
sections.json  the sections, for `ckd-export sections`; written last, so a folder with it is whole
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ckd.console import Bars, make_folder, no_bars
from ckd.contract.errors import InputError
from ckd.contract.version import ckd_version
from ckd.contract.whole_file import replace_file
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.data.samples import Sample
from ckd.data.skin_tone import tone_of, typology_angle
from ckd.finding.cleanup import MaskRule
from ckd.picture.decode import read_rgb
from ckd.train.fitting.machine import device_for
from ckd.train.sections.answered import Fold, answered, folds_below
from ckd.train.sections.mask import Tried, best_rule, compare_rules, try_rules
from ckd.train.sections.outcome import PHOTOGRAPH, Judged, codes_in_turn, fit_outcome
from ckd.train.sections.pictures import (
    bare_skin,
    blanks,
    made_skin,
    patterns,
    things,
)
from ckd.train.sections.report import (
    CleanedMask,
    mask_figure,
    mask_text,
    outcome_figure,
    outcome_text,
)

SECTIONS: Final = ("outcome", "mask")
_FILES: Final = ("sections.json", "outcome.md", "outcome.png", "mask.md", "mask.png")
#: Of fewer photographs nobody can say which are rare.
LEAST_PHOTOGRAPHS: Final = 100
_MADE: Final = 40
_BARE: Final = 200
_DRAWN: Final = 6


@dataclass(slots=True)
class _Gathered:
    """What all folds said: figures only, however large the photographs are."""

    pictures: list[Judged] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)


def fit_sections(
    crossvalidation: Path,
    data: Path,
    out: Path,
    only: Sequence[str] = SECTIONS,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    bars: Bars = no_bars,
) -> dict[str, Any]:
    """Fit the sections, write the files described above, and return what `sections.json` holds.

    Args:
        crossvalidation: folder of the folds.
        data: the data set that they were made with; its validation images take no part.
        out: folder to write to, created if missing.
        only: sections to fit.
        accelerator: "auto", "cpu" or "gpu".
        bars: begins one bar for each fold.

    Raises:
        InputError: no finished fold, another data set, or too few photographs.
        UsageError: ``out`` cannot be written to.
    """
    train_set = read_split(data, "train")
    folds = list(folds_below(crossvalidation, train_set, device_for(accelerator)))
    photographs = [[s for s in fold.held_out if s.mask is not None] for fold in folds]
    if (count := sum(map(len, photographs))) < LEAST_PHOTOGRAPHS:
        raise InputError(
            f"{crossvalidation}: {count} photographs with a mask were held out, expected "
            f"{LEAST_PHOTOGRAPHS} at least; give the folds of a larger data set"
        )
    make_folder(out)
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    gathered = _Gathered()
    for fold, samples in zip(folds, photographs, strict=True):
        _look_at_photographs(fold, samples, gathered, only, bars)
        if "outcome" in only:
            gathered.pictures += _look_at_others(fold, samples, bars)
    made = (
        f"Fitted with ckd {ckd_version()} on the {count} training photographs of "
        f"{train_set.name} that {', '.join(fold.name for fold in folds)} held out."
    )
    sections: dict[str, Any] = {}
    if "outcome" in only:
        rule = fit_outcome(gathered.pictures)
        text = outcome_text(gathered.pictures, codes_in_turn(gathered.pictures))
        sections["outcome"] = {"informative": False, "content": rule.as_content()}
        outcome_figure(gathered.pictures, rule, out / "outcome.png")
        replace_file(out / "outcome.md", f"{made}\n\n{text}\n".encode())
    if "mask" in only:
        table = compare_rules(gathered.tried)
        chosen = best_rule(table)
        # Also a rule that does nothing, so that it replaces an earlier one.
        sections["mask"] = {"informative": False, "content": chosen.as_content()}
        losses = next(row.losses for row in table if row.rule == chosen)[:_DRAWN]
        if losses:
            mask_figure(_drawn(folds, losses, chosen), out / "mask.png")
        replace_file(out / "mask.md", f"{made}\n\n{mask_text(table, chosen)}\n".encode())
    replace_file(out / "sections.json", (json.dumps(sections, indent=2) + "\n").encode())
    return sections


def _look_at_photographs(
    fold: Fold,
    samples: Sequence[Sample],
    gathered: _Gathered,
    only: Sequence[str],
    bars: Bars,
) -> None:
    progress = bars(f"{fold.name}: photographs")
    said = answered(fold.system, (read_rgb(sample.image) for sample in samples))
    for number, (sample, (image_HWC, mask_HW, picture)) in enumerate(
        zip(samples, said, strict=True), start=1
    ):
        assert sample.mask is not None
        truth_HW = read_mask(sample.mask, mask_HW.shape)
        angle = typology_angle(image_HWC, truth_HW)
        tone = "tone not assessed" if angle is None else tone_of(angle)
        source = sample.group or sample.id
        gathered.pictures.append(Judged(PHOTOGRAPH, source, tone, picture))
        if "mask" in only:
            gathered.tried.append(try_rules(sample.id, mask_HW, truth_HW))
        progress(number, len(samples))


def _look_at_others(fold: Fold, samples: Sequence[Sample], bars: Bars) -> list[Judged]:
    progress = bars(f"{fold.name}: other pictures")
    others = [
        *bare_skin(samples, _BARE), *made_skin(_MADE), *things(), *patterns(_MADE), *blanks(_MADE),
    ]  # fmt: skip
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
        fold, sample = next(
            (fold, one) for fold in folds for one in fold.held_out if one.id == name
        )
        ((image_HWC, mask_HW, _),) = answered(fold.system, [read_rgb(sample.image)])
        assert sample.mask is not None
        truth_HW = read_mask(sample.mask, mask_HW.shape)
        drawn.append(CleanedMask(name, image_HWC, truth_HW, mask_HW, rule.apply(mask_HW)))
    return drawn
