"""Finished stages of another run, so that what several runs share is trained once.

A teacher that several students learn from, or CKDNet's coarse network under several classifiers.
"""

import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ckd.console.progress import is_first_process, say
from ckd.contract.errors import InputError
from ckd.train.fitting.run_folder import load_data
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import Recipe, Stage
from ckd.train.recipes.text import load_recipe
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import deployed

#: What of a stage's folder is taken over.
_KEPT = ("weights.pt", "rests_on.txt", "logs")
_SHARED = ("image_size", "precision", "tasks")  # what recipes say of all their stages
_DATA = {"labels": "labels", "digest": "training images", "weights": "starting weights"}


class Reuse:
    """A run whose stages may stand for those of ``recipe``.

    A stage may if nothing differs of what shaped its weights: its settings, the images, the
    starting weights, the networks that it runs and how they start, the trained networks that it
    rests on, and the seed. Students of several seeds may share a teacher though: the seed may
    differ where a stage trains nothing that is deployed.

    Args:
        run: folder of the other run, which need not be finished.
        recipe: to be trained.
        data: what `describe` in `run_folder` says of the images and the starting weights.
        system: of the recipe, as built from its seed and ``weights``, not yet trained.
        weights: that the encoders start from.

    Raises:
        InputError: ``run`` is no run folder, or damaged.
    """

    def __init__(
        self, run: Path, recipe: Recipe, data: Mapping[str, Any], system: System, weights: Weights
    ) -> None:
        if not (run / "recipe.json").is_file():
            raise InputError(f"{run}: not a run folder (no recipe.json); name one with --reuse")
        self.run = run
        other, there = load_recipe(run / "recipe.json"), load_data(run)
        general = [_differs(name, other, recipe) for name in _SHARED]
        general += [
            f"the {what} are others" for key, what in _DATA.items() if there.get(key) != data[key]
        ]
        networks = dict[str, str]()
        if not any(general):
            # From the same seed, so that equal networks have equal weights.
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(recipe.seed)
                built = other.system.build(system.labels, other.tasks, other.image_size, weights)
            networks = _likeness(built)
        here = _likeness(system)
        seed = _differs("seed", other, recipe)
        answering = set(deployed(system).networks)
        self._obstacles: dict[str, str | None] = {}
        for stage in recipe.stages:
            trained = next((s for s in other.stages if s.name == stage.name), None)
            nodes = {node.name for node in system.needed(stage.tensors())} | set(stage.nodes)
            reasons = [
                *general,
                seed if answering & set(stage.nodes) else None,
                *_stage_differs(trained, stage),
                *(f"the network {n} is another" for n in nodes if networks.get(n) != here[n]),
            ]
            self._obstacles[stage.name] = next((reason for reason in reasons if reason), None)

    def obstacle(self, stage: Stage, ground: str) -> str | None:
        """Why the stage cannot be taken, None if it can; arguments are those of `take`."""
        source = self.run / stage.name
        if found := self._obstacles[stage.name]:
            return found
        if not (source / "weights.pt").exists():
            return "it is not finished there"
        rests_on = source / "rests_on.txt"
        if not rests_on.exists() or rests_on.read_bytes() != ground.encode():
            return "it rests on other weights, or was chosen by other validation images"
        try:
            torch.load(source / "weights.pt", map_location="cpu", weights_only=True)
        except Exception:  # PyTorch's reader raises whatever the bytes lead to
            return f"{source / 'weights.pt'} is damaged"
        return None

    def take(self, stage: Stage, folder: Path, ground: str) -> str | None:
        """Copy the finished stage into ``folder``, or say why it cannot be.

        Args:
            stage: of the recipe.
            folder: of the stage, not there yet.
            ground: what it rests on, see `ckd.train.fitting.run_folder.ground_of`.
        """
        source = self.run / stage.name
        if obstacle := self.obstacle(stage, ground):
            return obstacle
        if is_first_process():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name in _KEPT:
                if (source / name).is_dir():
                    shutil.copytree(source / name, partial / name)
                elif (source / name).exists():
                    shutil.copy2(source / name, partial / name)
            (partial / "reused_from.txt").write_text(f"{source.resolve()}\n")
            partial.replace(folder)  # whole, or not there
        say(f"{stage.name}: taken from {source}")
        return None


def _stage_differs(there: Stage | None, here: Stage) -> list[str | None]:
    if there is None:
        return [f"there is no stage {here.name} there"]
    return [_differs(setting.name, there, here) for setting in fields(Stage)]


def _differs(name: str, there: Recipe | Stage, here: Recipe | Stage) -> str | None:
    theirs, ours = getattr(there, name), getattr(here, name)
    if theirs == ours:
        return None
    values = f" ({theirs} there, {ours} here)"
    return f"{name} differs{values if len(values) < 60 else ''}"


def _likeness(system: System) -> dict[str, str]:
    """By node: its wiring, its modules' settings, and a digest of the weights it starts from."""
    return {
        node.name: f"{node.inputs} {node.outputs} {_settings(node.module)} "
        + system.digest({node.name})
        for node in system.nodes
    }


def _settings(network: nn.Module) -> str:
    """What modules are told beside their weights, such as a rate of dropout, a kernel's stride."""
    lines = []
    for name, module in network.named_modules():
        plain = {
            key: value
            for key, value in sorted(vars(module).items())
            if not key.startswith("_")
            and key != "training"
            and isinstance(value, bool | int | float | str | tuple)
        }
        lines.append(f"{name} {type(module).__name__} {plain}")
    return "\n".join(lines)
