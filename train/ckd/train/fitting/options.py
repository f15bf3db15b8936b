"""How a recipe is run, as opposed to what the recipe is."""

from dataclasses import dataclass
from pathlib import Path

from ckd.contract.errors import UsageError
from ckd.train.fitting.machine import Accelerator
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import AnyStage, Recipe
from ckd.train.recipes.soup import Soup


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Options of one call of `ckd.train.fitting.fit.fit`.

    Attributes:
        weights: that the encoders start from.
        stage: name of the only stage to train, or "all".
        fresh: start the stage and all later ones over.
        reuse: run whose finished stages are taken where they would be the same.
        fold: (number, number of folds) inside the training images, None to use all of them.
        accelerator: processor to train on.
        devices: number of processes.
        num_workers: processes that load images; by default none on a CPU and 8 beside a GPU.
    """

    weights: Weights = "imagenet"
    stage: str = "all"
    fresh: bool = False
    reuse: Path | None = None
    fold: tuple[int, int] | None = None
    accelerator: Accelerator = "auto"
    devices: int = 1
    num_workers: int | None = None

    def stages(self, recipe: Recipe) -> tuple[AnyStage, ...]:
        """The stages to train.

        Raises:
            UsageError: the recipe has no stage of that name, or several processes would average
                weights.
        """
        stages = recipe.stages if self.stage == "all" else (recipe.any_stage(self.stage),)
        soups = [stage.name for stage in stages if isinstance(stage, Soup)]
        if soups and self.devices > 1:
            raise UsageError(
                f"stage {soups[0]} averages weights, which one process does, not {self.devices}; "
                "give --devices 1, or train single stages with --stage"
            )
        return stages
