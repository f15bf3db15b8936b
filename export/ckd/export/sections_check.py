"""What a bundle delivers with its sections, on photographs that nothing was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ckd.console import Bars
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.data.groups import Traits, groups_of, traits_of
from ckd.data.masks import read_mask
from ckd.data.samples import SampleSet
from ckd.export.decision_check import DecisionCheck, check_decisions, check_text
from ckd.finding.decision import Decider
from ckd.finding.finding import Finding
from ckd.picture.decode import read_rgb
from ckd.runtime.acceptance import firm_cases
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.cases import golden_images
from ckd.scores.boundary import boundary_distance
from ckd.scores.estimates import Answered
from ckd.scores.groups import GroupScore, group_scores, groups_text
from ckd.scores.images import ImageScore, score_against


@dataclass(frozen=True, slots=True)
class SectionsReport:
    """What the bundle does on photographs with its new sections.

    Attributes:
        names: of the sections that were written.
        num_images: photographs that it was checked on, 0 without any.
        lost: ids of those without an answer, with the code.
        jaccard: mean over photographs with a mask of the delivered mask; None without any.
        raw_jaccard: likewise of the mask as it comes from the threshold.
        boundary: mean 95 % boundary distance of the delivered mask in hundredths of the
            diagonal, over photographs where both masks and the truth have a border.
        raw_boundary: likewise of the mask as it comes.
        decisions: what its decisions come to; None if it does not decide.
        groups: figures by label, size of the lesion, tone of the skin and hair.
        firm: by precision, for each part of a verdict, on how many acceptance cases every engine
            must repeat it.
        num_cases: acceptance cases.
    """

    names: tuple[str, ...]
    num_images: int
    lost: tuple[tuple[str, str], ...] = ()
    jaccard: float | None = None
    raw_jaccard: float | None = None
    boundary: float | None = None
    raw_boundary: float | None = None
    decisions: DecisionCheck | None = None
    groups: tuple[GroupScore, ...] = ()
    firm: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    num_cases: int = 0


def check_sections(
    bundle: Bundle, names: tuple[str, ...], samples: SampleSet, bars: Bars
) -> SectionsReport:
    """Let a bundle answer photographs that nothing was fitted on.

    Args:
        bundle: with its sections.
        names: of those that are new.
        samples: labels numbered as the bundle's.
        bars: begins one bar.
    """
    progress = bars("check")
    lost: list[tuple[str, str]] = []
    figures: list[tuple[float | None, ...]] = []
    kept: list[Finding] = []
    scores: list[ImageScore] = []
    traits: list[Traits] = []
    with Cascade(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as cascade:
        for number, sample in enumerate(samples.samples, start=1):
            image_HWC = read_rgb(sample.image)
            finding = cascade.predict(image_HWC)
            truth_HW = None if sample.mask is None else read_mask(sample.mask, image_HWC.shape)
            traits.append(traits_of(image_HWC, truth_HW))
            scores.append(score_against(finding, sample, truth_HW))
            if finding.reason is not None:
                lost.append((sample.id, finding.reason.code))
            if truth_HW is not None and finding.mask_HW is not None:
                figures.append(_figures(finding, truth_HW))
            kept.append(_without_masks(finding))
            progress(number, len(samples))
    jaccard, raw_jaccard, boundary, raw_boundary = (
        map(_mean, zip(*figures, strict=True)) if figures else (None,) * 4
    )
    decider = Decider(bundle.spec, bundle.read)
    decisions = check_decisions(decider, kept, samples)
    answered = Answered(
        scores,
        labels=bundle.spec.labels,
        tasks=bundle.spec.tasks,
        target=None if decider.points is None else decider.points.target,
        decides=decisions is not None,
    )
    return SectionsReport(
        names=names,
        num_images=len(samples),
        lost=tuple(lost),
        jaccard=jaccard,
        raw_jaccard=raw_jaccard,
        boundary=boundary,
        raw_boundary=raw_boundary,
        decisions=decisions,
        groups=group_scores(answered, groups_of(samples, traits)),
        firm={kind: firm_cases(bundle, kind) for kind in precisions_of(bundle)},
        num_cases=len(golden_images(bundle)),
    )


def precisions_of(bundle: Bundle) -> list[str]:
    """The precisions that a bundle has files for, whatever they are for."""
    return list(dict.fromkeys(kind.partition(".")[0] for kind in bundle.spec.file_kinds()))


def _without_masks(finding: Finding) -> Finding:
    """A finding that takes little memory."""
    raw = replace(finding.raw, mask_HW=None, coarse_mask_HW=None)
    return replace(finding, mask_HW=None, coarse_mask_HW=None, raw=raw)


def _figures(finding: Finding, truth_HW: NDArray[np.bool_]) -> tuple[float | None, ...]:
    """Jaccard index and boundary distance, each of the delivered mask and of the one as it came."""
    assert finding.mask_HW is not None
    assert finding.raw.mask_HW is not None
    both = (finding.mask_HW, finding.raw.mask_HW)
    distances = [boundary_distance(one, truth_HW) for one in both]
    is_known = None not in distances  # of the same photographs
    return (
        *(confusion_from_masks(one, truth_HW).jaccard for one in both),
        *(distance if is_known else None for distance in distances),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def report_text(report: SectionsReport) -> str:
    """The check in words, for a model card; empty without one."""
    if not report.num_images:
        return ""
    lost = ", ".join(f"{name} ({code})" for name, code in report.lost)
    words = [
        f"On {report.num_images} photographs that nothing was fitted on, {len(report.lost)} get no "
        f"answer{f': {lost}' if lost else ''}."
    ]
    if report.jaccard is not None:
        words.append(
            f"Mean Jaccard index {report.jaccard:.4f} of the delivered masks, without an answer "
            f"counted as empty; {report.raw_jaccard:.4f} of the masks as they come."
        )
    if report.boundary is not None:
        words.append(
            f"Mean 95 % boundary distance {report.boundary:.2f} hundredths of the diagonal, and "
            f"{report.raw_boundary:.2f} as they come, where all masks have a border."
        )
    parts = [" ".join(words)]
    if report.decisions is not None:
        parts.append(check_text(report.decisions))
        firm = (
            f"{counts['decision']} (the referral on {counts['referral']}) in {precision}"
            for precision, counts in report.firm.items()
        )
        parts.append(
            f"Of the {report.num_cases} acceptance cases every engine must repeat the decision on "
            f"{', '.join(firm)}. On the others a number lies within three tolerances of a "
            "threshold."
        )
    return "\n\n".join(parts)


def by_group_text(report: SectionsReport) -> str:
    """The same photographs by group, for a model card; empty without a check."""
    if not report.groups:
        return ""
    target = None if report.decisions is None else report.decisions.target
    about = (
        f"The same {report.num_images} photographs by group; decisions are those of the default "
        "operating point, masks are those that the networks gave."
    )
    return groups_text(report.groups, target, about)
