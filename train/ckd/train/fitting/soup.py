"""A stage that averages the weights of earlier stages (`ckd.train.recipes.soup.Soup`).

Inside a fold, or with validation images, it also writes down how the average compares: the figures
of each member alone, and of networks on the line between the first two members. If the figures sink
between two members, these lie in different valleys of the loss, and their average is worth little.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from ckd.console import is_first_process, say
from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.scores.images import ImageScore
from ckd.train.evaluation.scoring import PlainImages, score_batch, scored_outputs
from ckd.train.feeding.dataset import EpochBatches, TrainingViews, training_loader
from ckd.train.fitting.figures import stage_figures
from ckd.train.fitting.prepare import Training
from ckd.train.fitting.stage_data import class_counts, for_stage
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.stage import LOWER_IS_BETTER, Stage
from ckd.train.systems.graph import System
from ckd.train.systems.members import States

#: Shares of the second member at which the line between two members is looked at, all alike.
LINE = (0.0, 0.5, 1.0)


def average(members: Sequence[States], shares: Sequence[float] | None = None) -> States:
    """The weighted mean of the members' weights, computed in float64.

    Args:
        members: weights of the same networks.
        shares: of each member, adding up to 1; equal ones by default. Integer tensors, which count
            batches, are those of the first member.
    """
    shares = shares or [1.0 / len(members)] * len(members)

    def mean(name: str, key: str) -> Tensor:
        first = members[0][name][key]
        if not first.is_floating_point():
            return first.clone()
        total = torch.zeros_like(first, dtype=torch.float64)
        for member, share in zip(members, shares, strict=True):
            total += share * member[name][key].double()
        return total.to(first.dtype)

    return {name: {key: mean(name, key) for key in state} for name, state in members[0].items()}


@torch.no_grad()
def estimate_batch_norms(
    system: System, nodes: Sequence[str], tensors: Sequence[str], images: Any
) -> None:
    """Estimate the running statistics of the nodes anew, as means over batches.

    Args:
        system: changed in place, and left in evaluation mode.
        nodes: names of networks.
        tensors: that the nodes give.
        images: batches, uint8 [B, S, S, 3] each.
    """
    system.eval()
    norms = [
        part
        for name in nodes
        for part in system.networks[name].modules()
        if isinstance(part, _BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    device = next(system.parameters()).device
    for image_BHWC in images if norms else ():
        system(image_BHWC.to(device), tensors)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def average_stage(training: Training, stage: Soup, device: str, num_workers: int = 0) -> None:
    """Average the members, and keep the weights; the system's networks have them afterwards.

    Args:
        training: that the stage belongs to, with finished members.
        stage: to carry out.
        device: to compute on; the system is left there.
        num_workers: processes that load images.
    """
    kitchen = _Kitchen(training, stage, training.recipe.first_trained(stage), num_workers)
    training.system.to(device)
    members = dict(zip(stage.of, training.members(stage.of), strict=True))
    record: dict[str, Any] = {"of": list(members)}
    if kitchen.val_set is not None:
        record["alone"] = {name: kitchen.figures(weights) for name, weights in members.items()}
        record["monitor"] = kitchen.monitor(record["alone"])
    chosen = list(members)
    if stage.select == "best":
        chosen, record["greedy"] = kitchen.greedy(members, record["alone"], record["monitor"])
    record["chosen"] = chosen
    if len(chosen) == 1:  # it stays as it was judged, with its own running statistics
        weights: States = members[chosen[0]]
        kitchen.serve(weights)
    else:
        weights = kitchen.cook([members[name] for name in chosen])
    if kitchen.val_set is not None:
        record["soup"] = kitchen.figures()
        is_middle = len(members) == len(chosen) == 2
        ends = list(members.values())[:2]
        record["line"] = kitchen.line(ends, record["soup"] if is_middle else None)
        kitchen.serve(weights)
    folder = training.run.stage(stage)
    if is_first_process():
        text = json.dumps(record, indent=2) + "\n"
        replace_file(folder.soup, text.encode())
        folder.keep(weights)
    say(f"{stage.name}: the average of {', '.join(chosen)}" + kitchen.line_of_text(record))


@dataclass(frozen=True)
class _Kitchen:
    """Averages members, puts the average into the system, and scores it."""

    training: Training
    stage: Soup
    trained: Stage
    num_workers: int

    @property
    def val_set(self) -> Any:
        """Images to score on that the stage is trained without, None if there are none."""
        images = self.training.val_set
        return None if images is None else for_stage(images, self.trained)

    def cook(self, members: Sequence[States], shares: Sequence[float] | None = None) -> States:
        """The average, with running statistics of its own; the system has it then."""
        system = self.training.system
        self.serve(average(members, shares))
        given = {name for node in system.nodes for name in node.outputs}
        tensors = [name for name in self.trained.tensors() if name in given]
        estimate_batch_norms(system, self.stage.nodes, tensors, self._views())
        return {
            name: {
                key: value.detach().cpu().clone()
                for key, value in system.networks[name].state_dict().items()
            }
            for name in self.stage.nodes
        }

    def figures(self, weights: States | None = None) -> dict[str, float]:
        """Figures of held-out images, of the networks in the system or of ``weights``."""
        if weights is not None:
            self.serve(weights)
        system, val_set = self.training.system.eval(), self.val_set
        judged = scored_outputs(self.trained, system.outputs)
        device = next(system.parameters()).device
        scores: list[ImageScore] = []
        with torch.no_grad():
            for batch in DataLoader(PlainImages(val_set, system.image_size), batch_size=16):
                tensors = system(batch["image"].to(device), judged.names())
                samples = [val_set.samples[int(i)] for i in batch["index"]]
                scores += score_batch(system, dict(tensors), samples, judged)
        classes = class_counts(for_stage(self.training.train_set, self.trained))
        return stage_figures(scores, system, judged, self.training.recipe.tasks, classes)

    def monitor(self, alone: Mapping[str, Mapping[str, float]]) -> str:
        """The figure that members are compared by.

        Raises:
            UsageError: the first member's monitor is none of what is scored.
        """
        known = next(iter(alone.values()))
        if self.trained.monitor not in known:
            raise UsageError(
                f"stage {self.stage.name}: monitor {self.trained.monitor!r} of "
                f"{self.trained.name} does not score what is averaged; expected "
                f"{' or '.join(known)}"
            )
        return self.trained.monitor

    def greedy(
        self,
        members: Mapping[str, States],
        alone: Mapping[str, Mapping[str, float]],
        monitor: str,
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """Names of the members that the greedy soup keeps, and the figure of every attempt."""
        sign = -1.0 if monitor in LOWER_IS_BETTER else 1.0
        order = sorted(members, key=lambda name: -sign * alone[name][monitor])
        kept, best = order[:1], alone[order[0]][monitor]
        attempts = [{"members": [*kept], monitor: best}]
        for name in order[1:]:
            self.cook([members[one] for one in (*kept, name)])
            figure = self.figures()[monitor]
            attempts.append({"members": [*kept, name], monitor: figure})
            if sign * figure >= sign * best:
                kept, best = [*kept, name], figure
        return kept, attempts

    def line(
        self, ends: Sequence[States], middle: dict[str, float] | None
    ) -> list[dict[str, float]]:
        """Figures along the line between two members, with running statistics of every point.

        ``middle`` holds those of the point in the middle, if they are known.
        """
        points = []
        for share in LINE:
            if share == 0.5 and middle is not None:
                points.append({"share": share, **middle})
                continue
            self.cook(ends, [1.0 - share, share])
            points.append({"share": share, **self.figures()})
        return points

    def line_of_text(self, record: Mapping[str, Any]) -> str:
        """How the soup compares with its members, for a terminal."""
        if "soup" not in record:
            return ""
        monitor = record["monitor"]
        alone = ", ".join(f"{figures[monitor]:.4f}" for figures in record["alone"].values())
        return f"  val/{monitor} {record['soup'][monitor]:.4f} (alone {alone})"

    def serve(self, weights: States) -> None:
        """Put weights into the system."""
        for name, state in weights.items():
            self.training.system.networks[name].load_state_dict(state)

    def _views(self) -> Any:
        """Views of the first member in batches, as many as the setting says."""
        recipe, trained = self.training.recipe, self.trained
        seed = recipe.seed_of(trained)
        views = TrainingViews(
            for_stage(self.training.train_set, trained),
            trained.augmentation, recipe.image_size, seed, needs=(),
        )  # fmt: skip
        batches = EpochBatches(len(views), trained.batch_size, 0, seed, 0, 1)
        batches.batches = batches.batches[: self.stage.batches]
        for batch in training_loader(views, batches, self.num_workers):
            yield batch["image"]
