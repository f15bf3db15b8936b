"""`ckd-train qat`: the last epochs of a finished run, rounded as its INT8 files will be."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from safetensors.torch import save

from ckd.console import Bars, is_first_process, no_bars, say
from ckd.contract.errors import UsageError
from ckd.contract.learnt import LEARNT_RECORD, Learnt, read_learnt, weight_key, write_learnt
from ckd.contract.parsing import parse_json
from ckd.contract.placement import Placement, read_placement
from ckd.contract.version import ckd_version
from ckd.data.samples import numbered_as
from ckd.train.fitting.alone import alone_in
from ckd.train.fitting.identity import describe
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.prepare import Training, seed_quietly
from ckd.train.fitting.run_folder import RunFolder, load_data, load_run
from ckd.train.fitting.stage_data import read_data
from ckd.train.fitting.train_stage import train_stage
from ckd.train.quantised.network import grids_of, weights_of
from ckd.train.quantised.teaching import (
    STAGE,
    quantised_networks,
    quantised_stage,
    start_grids,
    with_teacher,
)
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import explained


def train_quantised(
    run: Path,
    placement: Path,
    data: Path,
    out: Path,
    options: FitOptions,
    settings: Sequence[str] = (),
    bars: Bars = no_bars,
    callbacks: Sequence[pl.Callback] = (),
) -> Learnt:
    """Train a run's networks in their INT8 form, or go on; write what `ckd.contract.learnt` says.

    Args:
        run: a finished run; it is only read.
        placement: file of `ckd-calibrate placement`, of a bundle of this run.
        data: data set that the run was trained on.
        out: folder to make, or to go on in.
        options: how to train; of a run inside a fold, ``fold`` gives it the fold's images again.
        settings: as of ``--set``; those of the stage begin with "stages.quantised.".
        bars: show how the reading of images advances.
        callbacks: of Lightning, to watch with.

    Raises:
        UsageError: the placement is of other networks, ``out`` holds something else, or another
            process works in it.
        InputError: the run is not finished, or a file is damaged.
        Interrupted: by Ctrl-C or SIGTERM; the same command goes on.
    """
    with alone_in(out):
        return _train_alone(run, placement, data, out, options, settings, bars, callbacks)


def _train_alone(
    run: Path,
    placement: Path,
    data: Path,
    out: Path,
    options: FitOptions,
    settings: Sequence[str],
    bars: Bars,
    callbacks: Sequence[pl.Callback],
) -> Learnt:
    placed = read_placement(placement)
    for setting in settings:
        name = setting.partition("=")[0]
        if not name.startswith(f"stages.{STAGE}.") or name.split(".")[-1] in ("name", "nodes"):
            raise UsageError(
                f"--set {setting}: the INT8 form has the run's networks and images; expected "
                f"stages.{STAGE}.NAME=VALUE, as in stages.{STAGE}.epochs=2"
            )
    recipe, system = load_run(run)
    weights = system.digest()
    if any("class_map" in network.outputs for network in placed.networks.values()):
        system = explained(system)
    recipe = _recipe(recipe, system, placed, settings)
    (stage,) = recipe.trained
    train_set, _ = read_data(recipe, recipe.stages, data, options.fold, bars)
    description = {**describe(train_set, None), "weights": weights, "placement": placed.digest}
    _check_images(run, description)
    fresh = recipe.stages if options.fresh else ()
    RunFolder(out).check(recipe, description, fresh)
    seed_quietly(recipe)
    taught = with_teacher(system, placed)
    training = Training(
        recipe,
        RunFolder(out),
        taught,
        numbered_as(system.labels, train_set, exclusive=system.outputs.exclusive),
        None,
        description,
        fresh,
        built={},  # the one stage starts from the run's weights
    )
    training.run.open(recipe, description, training.fresh)
    folder = training.run.stage(stage)
    start_grids(taught, train_set, bars("first ranges"))
    if folder.is_done:
        say(f"{stage.name}: already trained, see {folder.weights}")
    else:
        folder.begin(f"{weights}\n{placed.digest}\n")
        train_stage(training, stage, options, callbacks)
    folder.load_into(taught)
    learnt = Learnt(placed, _scales(taught, placed), _record(run, recipe, description, options))
    if is_first_process():
        write_learnt(out, learnt, _weights(taught))
        say(f"{out / LEARNT_RECORD} written; `ckd-calibrate quantize --learnt {out}` takes it")
        learnt = read_learnt(out)
    return learnt


def _recipe(recipe: Recipe, system: System, placed: Placement, settings: Sequence[str]) -> Recipe:
    stage = replace(quantised_stage(system, placed), augmentation=recipe.trained[-1].augmentation)
    # In half precision a number would fall on another step of the grid than in the INT8 file.
    base = replace(recipe, name=f"{recipe.name}-int8", stages=(stage,), precision="32-true")
    return with_overrides(base, list(settings))


def _check_images(run: Path, description: dict[str, Any]) -> None:
    """Raise `UsageError` if the run was trained on other images than these."""
    before = load_data(run)
    if before["digest"] != description["digest"]:
        raise UsageError(
            f"{run} was trained on {before['num_train']} other images than the "
            f"{description['num_train']} given; give the same --data, and --fold K/N for a run "
            "inside a fold"
        )


def _scales(system: System, placed: Placement) -> dict[str, dict[str, float]]:
    networks = quantised_networks(system)
    return {
        name: {tensor: grid.scale for tensor, grid in grids_of(networks[name]).items()}
        if name in networks
        else {}
        for name in placed.networks
    }


def _weights(system: System) -> bytes:
    return save(
        {
            weight_key(name, weight): tensor.cpu().contiguous()
            for name, network in quantised_networks(system).items()
            for weight, tensor in weights_of(network).items()
        }
    )


def _record(
    run: Path, recipe: Recipe, description: dict[str, Any], options: FitOptions
) -> dict[str, Any]:
    (stage,) = recipe.stages
    text = (run / "recipe.json").read_bytes()
    return {
        "recipe": recipe.name,
        "run_recipe_sha256": hashlib.sha256(text).hexdigest(),
        "run_weights": description["weights"],
        "placement": description["placement"],
        "data": {key: description[key] for key in ("name", "num_train", "digest")},
        "fold": None if options.fold is None else list(options.fold),
        "seed": recipe.seed,
        "stage": parse_json(json.dumps(asdict(stage))),  # lists, as they are read again
        "versions": {"ckd": ckd_version(), "torch": version("torch")},
    }
