"""A bundle of a training run, with all that is known of the run."""

import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ckd.console import Bars, no_bars
from ckd.contract.errors import InputError, UsageError
from ckd.contract.parsing import read_json
from ckd.contract.version import ckd_version
from ckd.export.bundle import ExportReport, write_bundle
from ckd.export.model_card import Evidence
from ckd.export.study_card import is_of_study, study_section
from ckd.train.fitting.run_folder import load_data, load_run
from ckd.train.recipes.recipe import Recipe
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import explained, merged


def export_run(
    run: Path,
    out: Path,
    *,
    name: str | None = None,
    merges: Sequence[str] = (),
    explain: bool = False,
    precisions: Sequence[str] = ("fp32",),
    licence: str = "not stated",
    notes: Path | None = None,
    bars: Bars = no_bars,
) -> ExportReport:
    """Write a bundle of a run, as `write_bundle`.

    The card of a run that won a study also says how it was chosen.

    Args:
        run: folder of `ckd-train fit`.
        out: bundle folder to create.
        name: of the bundle; by default that of the recipe.
        merges: nodes to export as one, as in "seg=seg_encoder,seg_decoder".
        explain: whether the classifier also gives class activation maps.
        precisions: of the files to write for each network.
        licence: of weights and data, for the model card.
        notes: Markdown file for the model card.
        bars: begins a bar for each piece of work.

    Raises:
        InputError: ``notes`` cannot be read, or the run's scores are damaged or of other weights.
        GateFailed: a chain disagrees with PyTorch.
        UsageError: ``out`` exists, or an unknown precision or merge.
    """
    try:
        text = "" if notes is None else notes.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{notes}: cannot be read as text ({error})") from error
    if is_of_study(run):
        text = f"{study_section(run)}\n\n{text}"
    curves = run / "learning_curves.png"
    recipe, system = load_run(run)
    digest = system.digest()
    evidence = Evidence(
        scores=measured_scores(run, system),
        learning_curves=curves if curves.is_file() else None,
        notes=text,
    )
    if explain:
        system = explained(system)
    for merge in merges:
        system = merged_as(system, merge)
    return write_bundle(
        system,
        out,
        name=name or recipe.name,
        provenance={**provenance_of(run, recipe, licence), "weights_digest": digest},
        evidence=evidence,
        precisions=precisions,
        bars=bars,
    )


def merged_as(system: System, wish: str) -> System:
    """A system with the nodes fused that ``wish`` names, as NAME=NODE,NODE.

    Raises:
        UsageError: the wish is malformed, names an unknown node or nodes with another between them,
            or its name is another node's or cannot be part of a file's.
    """
    into, _, nodes = wish.partition("=")
    names = nodes.split(",")
    if not re.fullmatch(r"\w+", into) or not all(names):
        raise UsageError(
            f"--merge {wish}: expected NAME=NODE,NODE, as in seg=seg_encoder,seg_decoder"
        )
    return merged(system, names, into)


def measured_scores(run: Path, system: System) -> dict[str, Any] | None:
    """The scores that `ckd-train evaluate` wrote into this run; None if there are none.

    Raises:
        InputError: they are damaged, or of other weights or another mask threshold.
    """
    path = run / "evaluate" / "scores.json"
    if not path.is_file():
        return None
    try:
        scores = dict(read_json(path))
        measured = scores["weights"], scores["mask_threshold"]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error!r}); run `ckd-train evaluate` again") from error
    if measured != (system.digest(), system.mask_threshold):
        raise InputError(
            f"{path}: measured of other weights or at another mask threshold; "
            "run `ckd-train evaluate` again"
        )
    return scores


def provenance_of(run: Path, recipe: Recipe, licence: str) -> dict[str, Any]:
    """The origin of a run's weights, for `cascade.json` and the model card."""
    data = load_data(run)
    return {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "method": recipe.system.about,
        "data": f"{data['name']}, {data['num_train']} training images",
        "data_digest": data["digest"],
        "split_by": recipe.split_by,
        "class_counts": dict(zip(data["labels"], data["class_counts"], strict=True)),
        "licence": licence,
        "exported": date.today().isoformat(),
        "versions": {"ckd": ckd_version(), "torch": version("torch"), "onnx": version("onnx")},
    }
