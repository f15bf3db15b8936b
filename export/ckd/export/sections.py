"""Writes fitted sections into a bundle; no file of a network changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ckd.capture import CaptureJudge
from ckd.console import Bars, no_bars
from ckd.contract.bundle import CASCADE, Bundle, check_new
from ckd.contract.card import MODEL_CARD, with_part, without_part
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.errors import InputError
from ckd.contract.fitted_sections import read_fitted
from ckd.contract.hashes import write_hashes
from ckd.contract.spec import Section
from ckd.contract.whole_file import new_folder
from ckd.data.samples import Sample, SampleSet
from ckd.export.sections_check import (
    SectionsReport,
    by_group_text,
    check_sections,
    precisions_of,
    report_text,
)
from ckd.export.temperatures import temperatures_of
from ckd.export.verify import check_acceptance
from ckd.finding.doubts import FEATURE_FILE
from ckd.finding.doubts import SECTION as DOUBTS
from ckd.finding.finder import Finder
from ckd.finding.probabilities import SECTION as PROBABILITIES
from ckd.finding.probabilities import ProbabilityRule
from ckd.runtime.acceptance import verdicts_of
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.verdicts import VERDICTS

#: Titles of the parts of a model card on each section, and on all of them.
TITLES: Final = {
    "outcome": "When there is no finding",
    "mask": "Clean-up of masks",
    "probabilities": "Probabilities",
    "points": "Operating points",
    "sets": "Label sets",
    "refer": "When a referral is suggested",
    "capture": "When a capture is good enough",
}
CHECKED: Final = "What this bundle delivers"
BY_GROUP: Final = "For whom"
#: What `ckd-train evaluate --corruptions` writes; taken into the card where it lies in the folder.
DAMAGED: Final = ("corruptions.md", "Under bad captures")


def write_sections(
    source: Bundle,
    fitted: Path,
    out: Path,
    samples: SampleSet | None = None,
    trained_on: Sequence[Sample] = (),
    bars: Bars = no_bars,
) -> SectionsReport:
    """Write a copy of a bundle with the sections that `ckd-train sections` fitted.

    A section of the same name is replaced, others stay. The model card tells what was fitted, and
    what the check found; without one, nothing of an earlier check.

    Args:
        source: to copy.
        fitted: folder with `sections.json`, and text and picture of each section; a
            `corruptions.md` in it goes into the card, too.
        out: folder to create.
        samples: photographs to check the new bundle on, or None.
        trained_on: photographs that show how rounding moves logits, for the temperatures of FP16
            and INT8; without them these get that of float32.
        bars: begins a bar for each piece of work.

    Raises:
        UsageError: ``out`` exists.
        InputError: the fitted sections cannot be read, or are of other networks.
        BundleError: they do not fit this bundle.
        GateFailed: the new bundle fails its own acceptance cases.
    """
    check_new(out)
    found = read_fitted(fitted)
    found.check_networks(fitted, source.spec.provenance, str(source.path))
    sections = found.sections
    _check_together(fitted, sections, source)
    texts = _texts(fitted, sections)
    spec = replace(source.spec, sections={**source.spec.sections, **sections})
    with new_folder(out) as new:
        folder = new.path
        source.copy_to(folder)
        (folder / CASCADE).write_text(spec_to_json(spec))
        for name in sections:
            (folder / f"{name}.png").unlink(missing_ok=True)
            if (picture := fitted / f"{name}.png").is_file():
                (folder / f"{name}.png").write_bytes(picture.read_bytes())
        if DOUBTS in sections:
            (folder / FEATURE_FILE).unlink(missing_ok=True)
            if (features := fitted / FEATURE_FILE).is_file():
                (folder / FEATURE_FILE).write_bytes(features.read_bytes())
        write_hashes(folder)  # once more below, with what the card says of the check
        written = Bundle(folder)  # refuses what could not be read again
        Finder(spec, written.id, "", "", read=written.read)  # and sections that do not fit
        CaptureJudge.of(spec)
        if trained_on and "probabilities" in sections:
            written = _with_temperatures(written, folder, trained_on, bars)
        written = _with_verdicts(written, folder)
        report = SectionsReport(tuple(sections), 0)
        if samples is not None:
            report = check_sections(written, tuple(sections), samples, bars)
        path = folder / MODEL_CARD
        card = path.read_text() if path.is_file() else ""
        for title, text in texts.items():
            card = with_part(card, title, text)
        parts = {CHECKED: report_text(report), BY_GROUP: by_group_text(report)}
        if samples is None and found.of_no_answer:  # what was found of its answers stays true
            parts = {}
        for title, words in parts.items():  # an earlier check was of other sections
            card = with_part(card, title, words) if words else without_part(card, title)
        path.write_text(card)
        write_hashes(folder)
        new.keep()
    return report


def _check_together(fitted: Path, sections: Mapping[str, Section], source: Bundle) -> None:
    """Raise `InputError` where masks would be cleaned up otherwise than those that are compared."""
    stays = source.spec.sections.get(DOUBTS)
    if "mask" not in sections or DOUBTS in sections or stays is None:
        return
    if stays.content.get("masks_agree") is not None:
        raise InputError(
            f"{fitted}: has mask without refer, and {source.path} compares masks as they were "
            "cleaned up before; fit both together, as in --only mask,refer"
        )


def _with_temperatures(
    bundle: Bundle, folder: Path, trained_on: Sequence[Sample], bars: Bars
) -> Bundle:
    """The bundle, with temperatures of its own for FP16 and INT8."""
    rule = ProbabilityRule.of(bundle.spec)
    assert rule is not None
    rule = replace(rule, temperatures=temperatures_of(bundle, rule, trained_on, bars))
    sections = {**bundle.spec.sections, PROBABILITIES: Section(rule.as_content())}
    (folder / CASCADE).write_text(spec_to_json(replace(bundle.spec, sections=sections)))
    write_hashes(folder)
    return Bundle(folder)


def _with_verdicts(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle, with what its acceptance cases come to by the new sections, and passing them."""
    (folder / VERDICTS).write_bytes(verdicts_of(bundle))
    write_hashes(folder)
    bundle = Bundle(folder)
    for precision in precisions_of(bundle):
        with Cascade(bundle, open_backend("onnxruntime", "cpu", None), precision) as cascade:
            check_acceptance(cascade, bundle)
    return bundle


def _texts(fitted: Path, names: Iterable[str]) -> dict[str, str]:
    """What the card says of each section, by title, with its picture if it has one."""
    texts = {}
    for name in names:
        text, picture = _text(fitted / f"{name}.md", "ckd-train sections"), f"{name}.png"
        if (fitted / picture).is_file() and picture not in text:
            text = f"{text.rstrip()}\n\n![{TITLES[name]}]({picture})\n"
        texts[TITLES[name]] = text
    name, title = DAMAGED
    if (fitted / name).exists():
        texts[title] = _text(fitted / name, "ckd-train evaluate --corruptions")
    return texts


def _text(path: Path, maker: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); `{maker}` makes it anew") from error
