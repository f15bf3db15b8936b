"""What is measured: a run's networks as a bundle, as one fused graph, or untrained as a recipe's.

Needs the extra [export].
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.contract.bundle import Bundle
from ckd.contract.labels import ISIC2017
from ckd.data.synthetic.write import dermoscopy
from ckd.export.bundle import write_bundle
from ckd.export.folds import folded
from ckd.export.onnx import export_onnx
from ckd.train.fitting.run_folder import load_run
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.recipe import Recipe
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import explained, merged

#: What reports say of such weights.
UNTRAINED = "untrained, batch normalisation calibrated on generated images"
#: Enough images for running statistics that keep an untrained network's activations sane.
NUM_CALIBRATION = 32


def untrained_run(recipe_name: str, out: Path) -> Path:
    """Write a run folder as if a recipe had been trained, with weights as they start out.

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

    It gives the answers that the bundle ``like`` gives, class maps too if that has them.
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
    """The bundle with every network in INT8, whatever that costs; images by SHA-256."""
    quantise_bundle(Bundle(bundle), images, out, setting=QuantSetting(method="minmax"))
    return out


def _write_run(recipe: Recipe, system: System, out: Path) -> None:
    """What `ckd.train.fitting.run_folder.load_run` reads."""
    for stage in recipe.stages:
        (out / stage.name).mkdir(parents=True)
        weights = {name: system.networks[name].state_dict() for name in stage.nodes}
        torch.save(weights, out / stage.name / "weights.pt")
    recipe.save(out / "recipe.json")
    none = {"name": "none", "num_train": 0, "class_counts": [0] * len(system.labels), "digest": ""}
    (out / "data.json").write_text(json.dumps({"labels": list(system.labels), **none}) + "\n")
