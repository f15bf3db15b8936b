"""Writes fitted sections into a bundle; no file of a network changes."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ckd.console import Bars, no_bars
from ckd.contract.bundle import CASCADE, Bundle, check_new, move_new
from ckd.contract.card import MODEL_CARD, with_part, without_part
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import InputError
from ckd.contract.hashes import write_hashes
from ckd.contract.spec import Section
from ckd.data.masks import read_mask
from ckd.data.samples import SampleSet
from ckd.finding.finder import Finder
from ckd.finding.finding import Finding
from ckd.picture.decode import read_rgb
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.scores.boundary import boundary_distance

#: Titles of the parts of a model card on each section, and on all of them.
TITLES: Final = {
    "outcome": "When there is no finding",
    "mask": "Clean-up of masks",
}
CHECKED: Final = "What this bundle delivers"


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
    """

    names: tuple[str, ...]
    num_images: int
    lost: tuple[tuple[str, str], ...] = ()
    jaccard: float | None = None
    raw_jaccard: float | None = None
    boundary: float | None = None
    raw_boundary: float | None = None


def write_sections(
    source: Bundle,
    fitted: Path,
    out: Path,
    samples: SampleSet | None = None,
    bars: Bars = no_bars,
) -> SectionsReport:
    """Write a copy of a bundle with the sections that `ckd-train sections` fitted.

    A section of the same name is replaced, others stay. The model card tells what was fitted, and
    what the check found; without one, nothing of an earlier check.

    Args:
        source: to copy.
        fitted: folder with `sections.json`, and text and picture of each section.
        out: folder to create.
        samples: photographs to check the new bundle on, or None.
        bars: begins a bar for the check.

    Raises:
        UsageError: ``out`` exists.
        InputError: the fitted sections cannot be read.
        BundleError: they do not fit this bundle.
    """
    check_new(out)
    sections, texts = _read(fitted)
    spec = replace(source.spec, sections={**source.spec.sections, **sections})
    Finder(spec, source.id, "", "")  # refuses sections that do not fit
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as room:
        folder = Path(room) / "bundle"
        source.copy_to(folder)
        (folder / CASCADE).write_text(spec_to_json(spec))
        for name in sections:
            (folder / f"{name}.png").unlink(missing_ok=True)
            if (picture := fitted / f"{name}.png").is_file():
                (folder / f"{name}.png").write_bytes(picture.read_bytes())
        write_hashes(folder)  # once more below, with what the card says of the check
        written = Bundle(folder)  # refuses what could not be read again
        report = SectionsReport(tuple(sections), 0)
        if samples is not None:
            report = _checked(written, tuple(sections), samples, bars)
        path = folder / MODEL_CARD
        card = path.read_text() if path.is_file() else ""
        for name, text in texts.items():
            card = with_part(card, TITLES[name], text)
        words = _sentence(report)  # an earlier check was of other sections
        card = with_part(card, CHECKED, words) if words else without_part(card, CHECKED)
        path.write_text(card)
        write_hashes(folder)
        move_new(folder, out)
    return report


def _read(fitted: Path) -> tuple[dict[str, Section], dict[str, str]]:
    """The sections, and what the card says of each."""
    path, sections = fitted / "sections.json", {}
    try:
        tree: Any = json.loads(path.read_bytes())
        if not isinstance(tree, dict) or not tree:
            raise ValueError("it holds no section")
        for name, part in tree.items():
            if name not in TITLES:
                raise ValueError(f"{name!r} is none of {', '.join(TITLES)}")
            if part["informative"] is not False or not isinstance(part["content"], dict):
                raise ValueError(f"{name} is no section")
            sections[name] = Section(part["content"], informative=False)
        texts = {name: (fitted / f"{name}.md").read_text(encoding="utf-8") for name in sections}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); `ckd-train sections` makes it anew"
        ) from error
    return sections, texts


def _checked(
    bundle: Bundle, names: tuple[str, ...], samples: SampleSet, bars: Bars
) -> SectionsReport:
    progress = bars("check")
    lost: list[tuple[str, str]] = []
    figures: list[tuple[float | None, ...]] = []
    with Cascade(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as cascade:
        for number, sample in enumerate(samples.samples, start=1):
            finding = cascade.predict(read_rgb(sample.image))
            if finding.reason is not None:
                lost.append((sample.id, finding.reason.code))
            if sample.mask is not None and finding.mask_HW is not None:
                figures.append(_figures(finding, sample.mask))
            progress(number, len(samples))
    means = [_mean(column) for column in zip(*figures, strict=True)]
    return SectionsReport(names, len(samples), tuple(lost), *means)


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


def _sentence(report: SectionsReport) -> str:
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
    return " ".join(words)
