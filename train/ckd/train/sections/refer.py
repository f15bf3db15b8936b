"""The section "refer": when the networks' answers are not to be relied on, fitted on folds.

Each fold's classifier has features of its own, so it gets its own space of training features; the
distances of what it held out go into one threshold for all.

Suffixes: N photographs, D features, H rows, W columns.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ckd.console import Bars
from ckd.data.samples import Sample
from ckd.finding.answers import Answers, answers_from_logits, quality_of
from ckd.finding.cleanup import MaskRule
from ckd.finding.doubts import Doubts
from ckd.finding.feature_space import FeatureSpace
from ckd.finding.label_sets import LabelSets
from ckd.finding.operating_points import OperatingPoints
from ckd.finding.probabilities import ProbabilityRule
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.sections.answered import Fold, batches
from ckd.train.sections.held import Held, Numbers, known
from ckd.train.sections.points import points_of, sets_of
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import FEATURES

#: Share of photographs held out that each doubt is raised about.
DOUBTED: Final = 0.01

Codes = dict[str, NDArray[np.bool_]]


def agreements(fold: Fold, rule: MaskRule) -> Numbers:
    """Agreement of both masks for each photograph that a fold held out; nan without an outline.

    Args:
        fold: with its kept answers.
        rule: clean-up that masks get before they are compared, as in the runtime.
    """
    system, answers, side = fold.system, fold.answers, fold.system.image_size
    fine, coarse = system.outputs.mask_logits, system.outputs.coarse_logits
    agreement_N = np.full(len(answers.ids), np.nan)
    if fine is None or coarse is None:
        return agreement_N
    assert answers.mask_logits_NHW is not None
    assert answers.coarse_logits_NHW is not None
    masks_only = system.outputs.renamed(lambda name: name if name in (fine, coarse) else None)
    for row, (fine_HW, coarse_HW) in enumerate(
        zip(answers.mask_logits_NHW, answers.coarse_logits_NHW, strict=True)
    ):
        logits = {fine: fine_HW[None, None], coarse: coarse_HW[None, None]}
        said = answers_from_logits(system, logits, side, side, outputs=masks_only)
        assert said.mask_HW is not None
        assert said.coarse_mask_HW is not None
        cleaned = Answers(rule.apply(said.mask_HW), rule.apply(said.coarse_mask_HW), {}, {})
        agreement_N[row] = quality_of(cleaned, side).get("mask_agreement", np.nan)
    return agreement_N


def computes_features(system: System) -> bool:
    """Whether a system's classifier gives what its last layer reads."""
    return any(FEATURES in node.outputs for node in system.nodes)


def training_space(
    system: System, samples: Sequence[Sample], name: str, bars: Bars
) -> FeatureSpace:
    """The space of the features of the photographs that a system was trained on."""
    progress = bars(f"{name}: training features")
    rows = []
    for features_D in pooled_features(system, (read_rgb(sample.image) for sample in samples)):
        rows.append(features_D)
        progress(len(rows), len(samples))
    return FeatureSpace.fitted(np.stack(rows))


def alike(spaces: Sequence[FeatureSpace]) -> list[FeatureSpace]:
    """Spaces of as many components, so that a threshold of distances in one holds in the others.

    Fewer photographs make fewer components.
    """
    return [space.first(min(map(len, spaces))) for space in spaces]


def pooled_features(
    system: System, images: Iterable[NDArray[np.uint8]]
) -> Iterator[NDArray[np.float32]]:
    """What the classifier's last layer reads, for pictures of any size, uint8 RGB [H, W, 3]."""
    device = next(system.parameters()).device
    for batch in batches(images):
        small = np.stack([network_image(image_HWC, system.image_size) for image_HWC in batch])
        with torch.no_grad():
            features_ND = system(torch.from_numpy(small).to(device), [FEATURES])[FEATURES]
        yield from features_ND.float().cpu().numpy()


def distances(space: FeatureSpace | None, fold: Fold) -> Numbers:
    """Distance of each photograph that a fold held out; nan without features."""
    features_ND = fold.answers.features_ND
    if space is None or features_ND is None:
        return np.full(len(fold.answers.ids), np.nan)
    return np.array([space.distance(row_D) for row_D in features_ND])


def doubts_of(held: Held, space: FeatureSpace | None) -> Doubts:
    """The thresholds of all folds.

    Args:
        held: with agreements and distances.
        space: of the network that is shipped; without it distances are not judged.
    """
    agreed, far = known(held.agreement_N), known(held.distance_N)
    return Doubts(
        masks_agree=round(float(np.quantile(agreed, DOUBTED)), 4) if len(agreed) else None,
        unlike_above=(
            round(float(np.quantile(far, 1 - DOUBTED)), 3) if len(far) and space else None
        ),
        space=space,
    )


def codes_of(
    held: Held,
    rule: ProbabilityRule,
    points: OperatingPoints,
    sets: LabelSets | None,
    doubts: Doubts,
) -> Codes:
    """For each reason that is judged, on which photographs it is given.

    It is `ckd.finding.decision` for many photographs at once.

    Distances are those within folds, so ``doubts`` need no space.
    """
    # As Python's floats, which the runtime compares with thresholds.
    probabilities_NK = rule.probabilities(held.logits_NK).astype(np.float64)
    column = held.labels.index(points.target)
    codes: Codes = {}
    codes["flagged"] = np.asarray(probabilities_NK[:, column] >= points.chosen(None).at_least)
    if sets is not None:
        in_set_NK = probabilities_NK >= np.array([sets.at_least[name] for name in held.labels])
        codes["set_holds_target"] = in_set_NK[:, column]
        codes["set_empty"] = np.asarray(~in_set_NK.any(axis=1), np.bool_)
    if doubts.masks_agree is not None:
        codes["masks_disagree"] = held.agreement_N < doubts.masks_agree  # not where it is nan
    if doubts.unlike_above is not None:
        codes["unlike_training"] = held.distance_N > doubts.unlike_above
    return codes


def codes_in_turn(
    held: Held, fit: Callable[[Held], ProbabilityRule], target: str, doubts: Doubts
) -> Codes:
    """The codes of photographs by rules, points, sets and doubts that were not fitted on them."""
    codes: Codes = {}
    for others, rows in held.turns():
        rule = fit(others)
        sets = sets_of(others, rule) if held.is_exclusive else None
        own = doubts_of(others, doubts.space)
        given = codes_of(held.only(rows), rule, points_of(others, rule, target), sets, own)
        for code, given_N in given.items():
            codes.setdefault(code, np.zeros(len(held), bool))[rows] = given_N
    return codes
