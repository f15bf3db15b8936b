"""Recipes: functions that return a full training run; their docstrings say what it reaches."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.recipes.catalogue import RECIPES, find_recipe
    from ckd.train.recipes.recipe import AnyStage, Recipe
    from ckd.train.recipes.soup import Soup
    from ckd.train.recipes.stage import LOWER_IS_BETTER, Schedule, Seed, Stage
    from ckd.train.recipes.text import load_recipe, with_overrides
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.recipes.catalogue": "RECIPES find_recipe",
            "ckd.train.recipes.recipe": "AnyStage Recipe",
            "ckd.train.recipes.soup": "Soup",
            "ckd.train.recipes.stage": "LOWER_IS_BETTER Schedule Seed Stage",
            "ckd.train.recipes.text": "load_recipe with_overrides",
        },
    )

__all__ = [
    "LOWER_IS_BETTER",
    "RECIPES",
    "AnyStage",
    "Recipe",
    "Schedule",
    "Seed",
    "Soup",
    "Stage",
    "find_recipe",
    "load_recipe",
    "with_overrides",
]
