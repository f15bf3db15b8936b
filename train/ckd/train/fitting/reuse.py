"""Finished stages of another run, so that what several runs share is trained once.

Examples are a teacher that several students learn from, and CKDNet's coarse network under several
classifiers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ckd.train.fitting.run_folder import RunFolder, load_data, recipe_of
from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import AnyStage, Recipe
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import deployed

_SHARED = ("image_size", "precision", "tasks")  # settings that apply to all stages of a recipe
_DATA = {"labels": "labels", "digest": "training images", "weights": "starting weights"}


@dataclass(frozen=True, slots=True)
class Offer:
    """A stage of another run, and what speaks against taking it.

    Attributes:
        source: its folder.
        difference: in what it was trained otherwise, None if in nothing.
        is_done: whether it is finished.
        rests_on: text that says what it was trained on top of.
        damage: why its weights cannot be read, None if they can or were not looked at.
    """

    source: StageFolder
    difference: str | None = None
    is_done: bool = True
    rests_on: str | None = None
    damage: str | None = None

    def flaw(self) -> str | None:
        """Why the stage cannot be taken whatever it shall rest on, None if nothing is wrong."""
        return self.difference or (None if self.is_done else "it is not finished there")

    def obstacle(self, ground: str) -> str | None:
        """Why the stage cannot be taken, None if it can.

        Args:
            ground: text that says what it shall rest on (`ckd.train.fitting.identity.ground_of`).
        """
        if (flaw := self.flaw()) is not None:
            return flaw
        if self.rests_on != ground:
            return "it rests on other weights, or was chosen by other validation images"
        return self.damage


def offers(
    run: Path, recipe: Recipe, description: Mapping[str, Any], system: System, weights: Weights
) -> dict[str, Offer]:
    """By stage of ``recipe``, the stage of the same name in the run.

    A stage may be taken if nothing differs that shaped its weights: its settings, the images, the
    starting weights, the networks that it runs and how they start, the trained networks that it
    rests on, and the seed. The seed may differ where a stage trains nothing that is deployed, so
    that students of several seeds can share a teacher.

    Args:
        run: folder of the other run, which need not be finished.
        recipe: to be trained.
        description: of images and starting weights (`ckd.train.fitting.identity.describe`).
        system: of the recipe, as built from its seed and ``weights``, not yet trained.
        weights: that the encoders start from.

    Raises:
        InputError: ``run`` is no run folder, or damaged.
    """
    other, data = recipe_of(run, "name one with --reuse"), load_data(run)
    general = [_differs(name, other, recipe) for name in _SHARED]
    general += [
        f"the {what} are others" for key, what in _DATA.items() if data.get(key) != description[key]
    ]
    their_networks = dict[str, str]()
    if not any(general):
        # From the same seed, so that equal networks have equal weights.
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            built = other.system.build(system.labels, other.tasks, other.image_size, weights)
        their_networks = _likeness(built)
    our_networks = _likeness(system)
    seed = _differs("seed", other, recipe)
    deployed_names = set(deployed(system).networks)

    made_by = {name: node.name for node in system.nodes for name in node.outputs}

    def offer(stage: AnyStage) -> Offer:
        # Members that teach or are averaged are named by digests of their weights, see `ground_of`.
        tensors = [
            name for name, node in made_by.items() if name in stage.tensors() or node in stage.nodes
        ]
        names = {node.name for node in system.needed(tensors)}
        reasons = [
            *general,
            seed if deployed_names & set(stage.nodes) else None,
            *_stage_differs(next((s for s in other.stages if s.name == stage.name), None), stage),
            *(
                f"the network {name} is another"
                for name in names
                if their_networks.get(name) != our_networks[name]
            ),
        ]
        difference = next((reason for reason in reasons if reason), None)
        source = RunFolder(run).stage(stage)
        damage = source.damage() if difference is None and source.is_done else None
        return Offer(source, difference, source.is_done, source.rests_on, damage)

    return {stage.name: offer(stage) for stage in recipe.stages}


def _stage_differs(theirs: AnyStage | None, ours: AnyStage) -> list[str | None]:
    if theirs is None:
        return [f"there is no stage {ours.name} there"]
    if type(theirs) is not type(ours):
        return ["one is an average of weights and the other is trained"]
    return [_differs(setting.name, theirs, ours) for setting in fields(ours)]


def _differs(name: str, theirs: Recipe | AnyStage, ours: Recipe | AnyStage) -> str | None:
    their_value, our_value = getattr(theirs, name), getattr(ours, name)
    if their_value == our_value:
        return None
    values = f" ({their_value} there, {our_value} here)"
    return f"{name} differs{values if len(values) < 60 else ''}"


def _likeness(system: System) -> dict[str, str]:
    """By node: its wiring, its modules' settings, and a digest of the weights it starts from."""
    return {
        node.name: f"{node.inputs} {node.outputs} {_settings(node.module)} "
        + system.digest({node.name})
        for node in system.nodes
    }


def _settings(network: nn.Module) -> str:
    """Settings of modules beside their weights, such as a rate of dropout or a kernel's stride."""
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
