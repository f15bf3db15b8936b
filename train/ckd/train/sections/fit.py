"""Fits the sections of a bundle on photographs that each fold's networks were not trained on.

NAME.md                for each section, what was fitted on what and how well it does, for the card
NAME.png               a picture of that, where one says more
training_features.npz  the shipped network's training features, where "refer" judges by them
sections.json          the sections, for `ckd-export sections`; written last, so a folder with it is
                       whole
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import torch

from ckd.console import Bars, make_folder, no_bars
from ckd.contract.errors import InputError
from ckd.contract.fitted_sections import FITTED_SECTIONS, write_fitted
from ckd.contract.labels import label_of
from ckd.contract.version import ckd_version
from ckd.contract.whole_file import replace_file
from ckd.data.layouts import read_split
from ckd.data.samples import Sample, SampleSet
from ckd.finding.cleanup import MaskRule
from ckd.finding.doubts import FEATURE_FILE
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.fitting.alone import alone_in
from ckd.train.fitting.identity import digest
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.run_folder import digests_of, load_run
from ckd.train.sections.answered import Fold, folds_below, training_images
from ckd.train.sections.decision import DECIDING, fit_decision
from ckd.train.sections.decision_figures import write_figure
from ckd.train.sections.decision_report import TEXTS
from ckd.train.sections.masks import OF_MASKS, fit_masks
from ckd.train.systems.graph import System

SECTIONS: Final = (*OF_MASKS, *DECIDING)
#: Of fewer photographs nobody can say which are rare.
LEAST_PHOTOGRAPHS: Final = 100


def fit_sections(
    crossvalidation: Path,
    data: Path,
    out: Path,
    only: Sequence[str] = (),
    *,
    run: Path | None = None,
    elsewhere: Path | None = None,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    bars: Bars = no_bars,
) -> dict[str, Any]:
    """Fit the sections, write the files described above, and return what `sections.json` holds.

    Args:
        crossvalidation: folder of the folds.
        data: the data set that they were made with; its validation images take no part.
        out: folder to write to, created if missing.
        only: sections to fit; by default all that the networks' outputs allow.
        run: of the networks that are shipped, trained on all of ``data``; without it no distance
            from their training photographs is judged.
        elsewhere: a data set of other diseases or another device, of whose photographs is told how
            many lie apart; nothing is fitted on it.
        accelerator: "auto", "cpu" or "gpu".
        bars: begins one bar for each fold.

    Raises:
        InputError: no finished fold, another data set, a run of another recipe or data, too few
            photographs, or networks that do not give what a section is fitted on.
        UsageError: ``out`` cannot be written to, or another process works in it.
    """
    train_set, device = training_images(crossvalidation, data), device_for(accelerator)
    folds = list(folds_below(crossvalidation, train_set, device))
    names = tuple(only) or _possible(folds[0])
    _check_names(crossvalidation, folds, names)
    _check_enough(crossvalidation, folds, names)
    used = _same_data(crossvalidation, folds, train_set, bars)
    folds = [_trained_on(fold, used) for fold in folds]
    source = {
        "recipe_digest": _same_recipe(crossvalidation, folds),
        "data_digest": digest(used),
    }
    shipped = None
    if run is not None:
        _check_shipped(run, source, crossvalidation)
        shipped = (_shipped(run, device), used.samples)
        if "refer" in names:  # nothing else rests on these weights
            source["weights_digest"] = shipped[0].digest()
    others = {} if elsewhere is None else _by_label(elsewhere)
    make_folder(out)
    with alone_in(out):
        _clear(out)
        count = sum(len(fold.held_out) for fold in folds)
        made = (
            f"Fitted with ckd {ckd_version()} on the {count} training photographs of "
            f"{train_set.name} that {', '.join(fold.name for fold in folds)} held out."
        )
        contents: dict[str, Any] = {}
        clean_up = MaskRule()
        if of_masks := [name for name in names if name in OF_MASKS]:
            outlined = fit_masks(folds, of_masks, made, out, bars)
            contents |= {name: rule.as_content() for name, rule in outlined.items()}
            clean_up = outlined.get("mask", clean_up)
        if deciding := [name for name in names if name in DECIDING]:
            decided = fit_decision(folds, clean_up, shipped, deciding, others, bars)
            for name, content in decided.contents(deciding).items():
                contents[name] = content
                write_figure(name, decided, out / f"{name}.png")
                replace_file(out / f"{name}.md", f"{TEXTS[name](decided)}\n\n{made}\n".encode())
            if "refer" in contents and decided.doubts.space is not None:
                replace_file(out / FEATURE_FILE, decided.doubts.space.packed())
        return write_fitted(out, contents, source)


def _clear(out: Path) -> None:
    """Remove what was fitted before; first the file that says that all others are there."""
    texts = [f"{name}{suffix}" for name in SECTIONS for suffix in (".md", ".png")]
    for name in (FITTED_SECTIONS, FEATURE_FILE, *texts):
        (out / name).unlink(missing_ok=True)


def _possible(fold: Fold) -> tuple[str, ...]:
    """The sections that the networks' outputs allow."""
    outputs = fold.system.outputs
    of_masks = OF_MASKS if outputs.mask_logits is not None else ()
    deciding = DECIDING if outputs.class_logits is not None else ()
    return (*of_masks, *(one for one in deciding if one != "sets" or outputs.exclusive))


def _same_recipe(folder: Path, folds: Sequence[Fold]) -> str:
    """Digest of the recipe of all folds; `InputError` if they have several."""
    first = folds[0]
    for fold in folds:
        if fold.recipe_digest != first.recipe_digest:
            raise InputError(
                f"{folder}: {fold.name} was trained by another recipe than {first.name}; give "
                "folds of one cross-validation"
            )
    return first.recipe_digest


def _same_data(folder: Path, folds: Sequence[Fold], train_set: SampleSet, bars: Bars) -> SampleSet:
    """The training images that a training on all of them uses.

    Raises:
        InputError: the folds were trained on others.
    """

    def is_of(images: SampleSet, fold: Fold) -> bool:
        held = {sample.id for sample in fold.held_out}
        return digest(images.only(lambda one: one.id not in held)) == fold.data_digest

    if all(is_of(train_set, fold) for fold in folds):
        return train_set
    # A training leaves out what cannot be read; to look for that takes longer than all else here.
    readable, _ = drop_unreadable(train_set, bars("files"))
    if all(is_of(readable, fold) for fold in folds):
        return readable
    raise InputError(
        f"{folder}: its folds were trained on other images or masks than those of "
        f"{train_set.name}; give the data set that they were made with"
    )


def _trained_on(fold: Fold, used: SampleSet) -> Fold:
    held = {sample.id for sample in fold.held_out}
    return replace(fold, trained_on=tuple(one for one in used.samples if one.id not in held))


def _check_names(folder: Path, folds: Sequence[Fold], names: Sequence[str]) -> None:
    """Raise `InputError` where sections cannot be, or not without another one."""
    outputs = folds[0].system.outputs
    if "sets" in names and not outputs.exclusive:
        raise InputError(
            f"{folder}: its labels do not exclude each other, and sets are of those that do; leave "
            "sets out with --only"
        )
    compares = outputs.mask_logits is not None and outputs.coarse_logits is not None
    if compares and "refer" in names and "mask" not in names:
        raise InputError(
            f"{folder}: refer compares masks as mask cleans them up; fit both together, as in "
            "--only mask,refer"
        )


def _check_shipped(run: Path, source: Mapping[str, str], crossvalidation: Path) -> None:
    for name, ours in digests_of(run).items():
        if ours != source[name]:
            raise InputError(
                f"{run}: its {name.replace('_', ' ')} is {ours[:12]}..., and that of the folds in "
                f"{crossvalidation} is {source[name][:12]}...; give the run of their recipe, on "
                "all of their images"
            )


def _check_enough(folder: Path, folds: Sequence[Fold], names: Sequence[str]) -> None:
    """Raise `InputError` where a section cannot be fitted."""
    wants_masks = any(name in OF_MASKS for name in names)
    without = [fold.name for fold in folds if fold.system.outputs.mask_logits is None]
    if wants_masks and without:
        raise InputError(
            f"{folder / without[0]}: its networks make no fine mask, from which "
            f"{' and '.join(OF_MASKS)} are fitted; leave these out with --only"
        )
    held = [sample for fold in folds for sample in fold.held_out]
    count = sum(sample.mask is not None for sample in held) if wants_masks else len(held)
    if count < LEAST_PHOTOGRAPHS:
        what = " with a mask" if wants_masks else ""
        raise InputError(
            f"{folder}: {count} photographs{what} were held out, expected {LEAST_PHOTOGRAPHS} at "
            "least; give the folds of a larger data set"
        )


def _shipped(run: Path, device: str) -> System:
    _, system = load_run(run)
    return system.to(device).to(memory_format=torch.channels_last).eval()


def _by_label(data: Path) -> dict[str, Sequence[Sample]]:
    """A data set's photographs by label, to be told apart in the report."""
    found: dict[str, list[Sample]] = {}
    samples = read_split(data, "train")
    for sample in samples.samples:
        name = "no label" if sample.label is None else label_of(samples.labels, sample.label)
        found.setdefault(f"{samples.name}, {name}", []).append(sample)
    return dict(sorted(found.items()))
