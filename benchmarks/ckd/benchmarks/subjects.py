"""The forms of a system that are measured: a bundle and one fused graph, trained or untrained.

Needs the extra [export].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.console import say
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.contract.whole_file import replace_file
from ckd.data.synthetic.write import dermoscopy
from ckd.export.bundle import write_bundle
from ckd.export.onnx import export_onnx
from ckd.train.fitting.run_folder import RunFolder, load_run
from ckd.train.folds import folded
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.recipe import Recipe
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import explained, merged

#: What reports say of the weights of `untrained_run`.
UNTRAINED = "untrained, batch normalisation calibrated on generated images"
#: Enough images for running statistics that keep an untrained network's activations sane.
NUM_CALIBRATION = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One system in the forms that race against each other.

    Attributes:
        run: folder as `ckd-train fit` writes it, for PyTorch.
        bundle: of the run.
        fused: ONNX file of the whole cascade.
        weights: what reports say of the weights.
    """

    run: Path
    bundle: Path
    fused: Path
    weights: str


def make_subject(
    folder: Path,
    *,
    run: Path | None,
    recipe: str | None,
    bundle: Path | None = None,
    folds: bool,
    images: Mapping[str, Path] | None = None,
) -> Subject:
    """Make what is missing of a system, and say on stderr what is being made.

    Args:
        folder: for the files made.
        run: folder of `ckd-train fit`; None makes one of ``recipe``, with untrained weights.
        recipe: used without ``run``.
        bundle: of the run; made if None.
        folds: whether the fused graph has the bundle's folds, or is as PyTorch exports it.
        images: by SHA-256; a bundle that is made is quantised by them, if there are any.

    Raises:
        UsageError: no such recipe or run.
        GateFailed: the exported chain disagrees with PyTorch.
    """
    weights = "trained"
    if run is None:
        if recipe is None:
            raise UsageError("a run or a recipe is needed")
        say(f"building {recipe} with untrained weights")
        run, weights = untrained_run(recipe, folder / "run"), UNTRAINED
    say("exporting the networks, and one fused graph of them")
    exported = bundle or export_run(run, folder)
    fused = export_fused(run, folder, exported, folds=folds)
    if bundle is None and images:
        say("quantising")
        exported = int8_bundle(exported, images, folder / "int8")
    return Subject(run=run, bundle=exported, fused=fused, weights=weights)


def untrained_bundles(recipes: Sequence[str], folder: Path) -> list[Path]:
    """A bundle of every recipe, with untrained weights; stderr says which is being made.

    Raises:
        UsageError: no recipe of that name, or one is named twice; known before any is built.
    """
    names = [find_recipe(recipe).name for recipe in recipes]
    if len(set(names)) < len(names):
        raise UsageError(f"--recipe {max(names, key=names.count)} is given twice; give each once")
    bundles = []
    for recipe in recipes:
        say(f"building {recipe} with untrained weights")
        bundles.append(export_run(untrained_run(recipe, folder / f"run-{recipe}"), folder))
    return bundles


def untrained_run(recipe_name: str, out: Path) -> Path:
    """Write a run folder as if a recipe had been trained, with its initial weights.

    Speed and memory do not depend on the weights as long as no activation is denormal or infinite;
    running statistics measured on generated images see to that.
    """
    recipe = find_recipe(recipe_name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
        calibrate_batch_norm(system)
    _write_run(recipe, system, out)
    return out


def calibrate_batch_norm(system: System, num_images: int = NUM_CALIBRATION) -> None:
    """Set BatchNorm's running statistics to the means over generated dermoscopy images."""
    momenta = {m: m.momentum for m in system.modules() if isinstance(m, _BatchNorm)}
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None  # a plain mean over batches instead of a decaying one
    system.train()
    with torch.no_grad():
        for first in range(0, num_images, 8):
            images = [
                dermoscopy(seed, system.image_size).image_HWC for seed in range(first, first + 8)
            ]
            system(torch.from_numpy(np.stack(images)))
    system.eval()
    for module, momentum in momenta.items():
        module.momentum = momentum


def export_run(run: Path, folder: Path) -> Path:
    """A bundle of a run.

    Raises:
        GateFailed: the exported chain disagrees with PyTorch.
    """
    recipe, system = load_run(run)
    bundle = folder / recipe.name
    write_bundle(system, bundle, name=recipe.name, provenance={"purpose": "benchmark"})
    return bundle


def export_fused(run: Path, folder: Path, like: Path, *, folds: bool) -> Path:
    """One ONNX file of a run's whole cascade: with the bundle's folds, or as PyTorch exports it.

    It gives the outputs that the bundle ``like`` gives, with class maps if that bundle has them.
    """
    _, system = load_run(run)
    if Bundle(like).spec.outputs.class_map is not None:
        system = explained(system)
    system = folded(system) if folds else system
    whole = merged(system, [node.name for node in system.nodes], "fused")
    whole.eval()  # a new module is in training mode, and exported so it would be another network
    fused = folder / "fused.onnx"
    export_onnx(whole.nodes[0], whole, fused)
    return fused


def int8_bundle(bundle: Path, images: Mapping[str, Path], out: Path) -> Path:
    """The bundle with every network in INT8, without a limit on the cost; images by SHA-256."""
    quantise_bundle(Bundle(bundle), images, out, setting=QuantSetting(method="minmax"))
    return out


def _write_run(recipe: Recipe, system: System, out: Path) -> None:
    """Write what `ckd.train.fitting.run_folder.load_run` reads."""
    for stage in recipe.stages:
        weights = {name: system.networks[name].state_dict() for name in stage.nodes}
        RunFolder(out).stage(stage).keep(weights)
    recipe.save(out / "recipe.json")
    none = {"name": "none", "num_train": 0, "class_counts": [0] * len(system.labels), "digest": ""}
    text = json.dumps({"labels": list(system.labels), **none}) + "\n"
    replace_file(out / "data.json", text.encode())
