"""Fits the sections that decide, and says how well they do on what they were not fitted on.

Suffixes: N photographs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ckd.console import Bars
from ckd.data.samples import Sample
from ckd.finding.cleanup import MaskRule
from ckd.finding.doubts import Doubts
from ckd.finding.feature_space import FeatureSpace
from ckd.finding.label_sets import LabelSets
from ckd.finding.operating_points import OperatingPoint, OperatingPoints
from ckd.finding.probabilities import ProbabilityRule
from ckd.picture.decode import read_rgb
from ckd.train.sections.answered import Fold
from ckd.train.sections.held import Held
from ckd.train.sections.pictures import other_pictures
from ckd.train.sections.points import (
    Counted,
    points_in_turn,
    points_of,
    sets_in_turn,
    sets_of,
)
from ckd.train.sections.probabilities import Compared, fit_probabilities, kind_of
from ckd.train.sections.refer import (
    Codes,
    agreements,
    alike,
    codes_in_turn,
    computes_features,
    distances,
    doubts_of,
    pooled_features,
    training_space,
)
from ckd.train.systems.graph import System

DECIDING: Final = ("probabilities", "points", "sets", "refer")


@dataclass(slots=True)
class Decided:
    """All that was fitted, with the figures of the card.

    Attributes:
        held: what it was fitted on.
        compared: kinds of rules for probabilities, on photographs that they were not fitted on.
        rule: the kind that was taken, on all photographs.
        points: on all photographs.
        points_apart: what points do that were fitted on other photographs.
        sets: on all photographs; None where labels do not exclude each other.
        sets_apart: what sets do that were fitted on other photographs.
        doubts: on all photographs.
        codes_apart: reasons to refer, by all that was fitted on other photographs.
        num_folds: whose answers those are.
        was_shipped: the networks that are shipped were given.
        unlike: by kind of picture, distances from the fold's training photographs.
    """

    held: Held
    compared: list[Compared]
    rule: ProbabilityRule
    points: OperatingPoints
    points_apart: dict[str, OperatingPoint]
    sets: LabelSets | None
    sets_apart: list[Counted]
    doubts: Doubts
    codes_apart: Codes
    num_folds: int
    was_shipped: bool
    unlike: dict[str, list[float]] = field(default_factory=dict)

    @property
    def taken(self) -> Compared:
        """The kind of rule that was taken, on photographs that it was not fitted on."""
        return self.compared[2 if any(self.rule.bias_K) else 1]

    def contents(self, only: Sequence[str]) -> dict[str, Any]:
        """The contents of the sections that are asked for, by name."""
        made: dict[str, Any] = {
            "probabilities": self.rule.as_content(),
            "points": self.points.as_content(),
            "sets": None if self.sets is None else self.sets.as_content(),
            "refer": self.doubts.as_content(),
        }
        return {name: made[name] for name in only if made.get(name) is not None}


def fit_decision(
    folds: Sequence[Fold],
    mask_rule: MaskRule,
    shipped: tuple[System, Sequence[Sample]] | None,
    only: Sequence[str],
    elsewhere: dict[str, Sequence[Sample]],
    bars: Bars,
) -> Decided:
    """Fit everything on the answers that folds kept.

    Args:
        folds: of one recipe.
        mask_rule: clean-up of the bundle's masks.
        shipped: the system whose bundle gets the sections, with its training photographs; without
            it, distances from these are not judged.
        only: sections to write; without "refer" no network runs.
        elsewhere: photographs of other diseases or devices by kind, of which is told how many lie
            apart.
        bars: begins a bar for each piece of work.

    Raises:
        InputError: too few photographs of a label, or folds that do not go together.
    """
    agreed = [agreements(fold, mask_rule) for fold in folds]
    # Of each fold, and of the networks that are shipped.
    spaces: Sequence[FeatureSpace | None] = [None] * (len(folds) + 1)
    if "refer" in only and shipped is not None and computes_features(shipped[0]):
        trained = [(fold.system, fold.trained_on, fold.name) for fold in folds]
        spaces = alike([training_space(*one, bars) for one in (*trained, (*shipped, "shipped"))])
    *own, space = spaces
    unlike: dict[str, list[float]] = {}
    for fold, its in zip(folds, own, strict=True):
        for kind, values in _others(fold, its, elsewhere, bars).items() if its else ():
            unlike.setdefault(kind, []).extend(values)
    held = Held.of(folds, agreed, [*map(distances, own, folds)])
    rule, compared = fit_probabilities(held)
    fit, target = kind_of(rule), folds[0].target
    doubts = doubts_of(held, space)
    return Decided(
        held=held,
        compared=compared,
        rule=rule,
        points=points_of(held, rule, target),
        points_apart=points_in_turn(held, fit, target),
        sets=sets_of(held, rule) if held.is_exclusive else None,
        sets_apart=sets_in_turn(held, fit) if held.is_exclusive else [],
        doubts=doubts,
        codes_apart=codes_in_turn(held, fit, target, doubts),
        num_folds=len(folds),
        was_shipped=shipped is not None,
        unlike=unlike,
    )


def _others(
    fold: Fold, space: FeatureSpace, elsewhere: dict[str, Sequence[Sample]], bars: Bars
) -> dict[str, list[float]]:
    """By kind, how far pictures that are no photographs of the data set lie apart."""
    found: dict[str, list[float]] = {}
    with_masks = [sample for sample in fold.held_out if sample.mask is not None]
    made = other_pictures(with_masks)
    progress = bars(f"{fold.name}: other pictures")
    total = len(made) + sum(map(len, elsewhere.values()))
    done = 0
    for other, row_D in zip(
        made, pooled_features(fold.system, (one.image_HWC for one in made)), strict=True
    ):
        found.setdefault(other.kind, []).append(space.distance(row_D))
        progress(done := done + 1, total)
    for kind, samples in elsewhere.items():
        for row_D in pooled_features(fold.system, (read_rgb(one.image) for one in samples)):
            found.setdefault(kind, []).append(space.distance(row_D))
            progress(done := done + 1, total)
    return found
