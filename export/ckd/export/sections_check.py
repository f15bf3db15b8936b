"""What a bundle delivers with its sections, on photographs that nothing was fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckd.console import Bars
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.data.masks import read_mask
from ckd.data.samples import SampleSet
from ckd.export.decision_check import DecisionCheck, check_decisions, check_text
from ckd.finding.decision import Decider
from ckd.finding.finding import Finding
from ckd.picture.decode import read_rgb
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.scores.boundary import boundary_distance


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
    """

    names: tuple[str, ...]
    num_images: int
    lost: tuple[tuple[str, str], ...] = ()
    jaccard: float | None = None
    raw_jaccard: float | None = None
    boundary: float | None = None
    raw_boundary: float | None = None
    decisions: DecisionCheck | None = None


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
    with Cascade(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as cascade:
        for number, sample in enumerate(samples.samples, start=1):
            finding = cascade.predict(read_rgb(sample.image))
            if finding.reason is not None:
                lost.append((sample.id, finding.reason.code))
            if sample.mask is not None and finding.mask_HW is not None:
                figures.append(_figures(finding, sample.mask))
            kept.append(_without_masks(finding))
            progress(number, len(samples))
    jaccard, raw_jaccard, boundary, raw_boundary = (
        map(_mean, zip(*figures, strict=True)) if figures else (None,) * 4
    )
    decisions = check_decisions(Decider(bundle.spec, bundle.read), kept, samples)
    return SectionsReport(
        names=names,
        num_images=len(samples),
        lost=tuple(lost),
        jaccard=jaccard,
        raw_jaccard=raw_jaccard,
        boundary=boundary,
        raw_boundary=raw_boundary,
        decisions=decisions,
    )


def _without_masks(finding: Finding) -> Finding:
    """A finding that takes little memory."""
    raw = replace(finding.raw, mask_HW=None, coarse_mask_HW=None)
    return replace(finding, mask_HW=None, coarse_mask_HW=None, raw=raw)


def _figures(finding: Finding, mask: Path) -> tuple[float | None, ...]:
    """Jaccard index and boundary distance, each of the delivered mask and of the one as it came."""
    assert finding.mask_HW is not None
    assert finding.raw.mask_HW is not None
    truth_HW = read_mask(mask, finding.mask_HW.shape)
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
    text = " ".join(words)
    return text if report.decisions is None else f"{text}\n\n{check_text(report.decisions)}"
