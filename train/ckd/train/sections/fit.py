"""Fits the sections of a bundle on photographs that each fold's networks were not trained on.

sections.json    the sections, for `ckd-export sections`
sections.md      what was fitted on what, with error rates, for the model card
outcome.png      the scores of photographs and of other pictures
masks.png        the photographs that clean-up changes most, if it is taken
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ckd.console import Bars, no_bars
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
from ckd.train.sections.mask import best_rule, compare_rules
from ckd.train.sections.outcome import PHOTOGRAPH, Judged, codes_in_turn, fit_outcome
from ckd.train.sections.pictures import (
    OtherPicture,
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
_MADE: Final = 40
_BARE: Final = 200


@dataclass(slots=True)
class _Gathered:
    """What all folds said."""

    pictures: list[Judged] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    masks: list[Any] = field(default_factory=list)
    truths: list[Any] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)


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
    """
    train_set = read_split(data, "train")
    gathered = _Gathered()
    for fold in folds_below(crossvalidation, train_set, device_for(accelerator)):
        _gather(fold, gathered, "outcome" in only, bars)
    sections: dict[str, Any] = {}
    texts = [
        f"Fitted with ckd {ckd_version()} on the {len(gathered.samples)} training photographs of "
        f"{train_set.name} that {', '.join(gathered.folds)} held out."
    ]
    out.mkdir(parents=True, exist_ok=True)
    if "outcome" in only:
        rule = fit_outcome(gathered.pictures)
        codes = codes_in_turn(gathered.pictures)
        sections["outcome"] = {"informative": False, "content": rule.as_content()}
        texts.append(outcome_text(gathered.pictures, codes))
        outcome_figure(gathered.pictures, rule, out / "outcome.png")
    if "mask" in only:
        ids = [sample.id for sample in gathered.samples]
        table = compare_rules(ids, gathered.masks, gathered.truths)
        chosen = best_rule(table)
        if chosen != table[0].rule:
            sections["mask"] = {"informative": False, "content": chosen.as_content()}
            mask_figure(_changed(gathered, chosen), out / "masks.png")
        texts.append(mask_text(table, chosen))
    replace_file(out / "sections.md", ("\n\n".join(texts) + "\n").encode())
    replace_file(out / "sections.json", (json.dumps(sections, indent=2) + "\n").encode())
    return sections


def _changed(gathered: _Gathered, rule: MaskRule) -> list[CleanedMask]:
    """The photographs whose mask clean-up changes."""
    changed = []
    of_all = zip(gathered.samples, gathered.masks, gathered.truths, strict=True)
    for sample, mask_HW, truth_HW in of_all:
        cleaned_HW = rule.apply(mask_HW)
        if (cleaned_HW != mask_HW).any():
            image_HWC = read_rgb(sample.image)
            changed.append(CleanedMask(sample.id, image_HWC, truth_HW, mask_HW, cleaned_HW))
    return changed


def _gather(fold: Fold, gathered: _Gathered, with_others: bool, bars: Bars) -> None:
    samples = [sample for sample in fold.held_out if sample.mask is not None]
    progress = bars(f"{fold.name}: photographs")
    said = answered(fold.system, (read_rgb(sample.image) for sample in samples))
    gathered.folds.append(fold.name)
    for number, (sample, picture) in enumerate(zip(samples, said, strict=True), start=1):
        assert sample.mask is not None
        truth_HW = read_mask(sample.mask, picture.mask_HW.shape)
        angle = typology_angle(read_rgb(sample.image), truth_HW)
        tone = "tone not assessed" if angle is None else tone_of(angle)
        source = sample.group or sample.id
        gathered.pictures.append(Judged(PHOTOGRAPH, source, tone, picture))
        gathered.samples.append(sample)
        gathered.masks.append(picture.mask_HW)
        gathered.truths.append(truth_HW)
        progress(number, len(samples))
    if with_others:
        others = [
            *bare_skin(samples, _BARE), *made_skin(_MADE), *things(), *patterns(_MADE),
            *blanks(_MADE),
        ]  # fmt: skip
        gathered.pictures += _judged(fold, others, bars)


def _judged(fold: Fold, others: Sequence[OtherPicture], bars: Bars) -> list[Judged]:
    progress = bars(f"{fold.name}: other pictures")
    judged = []
    said = answered(fold.system, (other.image_HWC for other in others))
    for number, (other, picture) in enumerate(zip(others, said, strict=True), start=1):
        judged.append(Judged(other.kind, other.source, other.kind, picture))
        progress(number, len(others))
    return judged
