"""Recipes that train in seconds, on generated images of 32 px."""

from dataclasses import replace

from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.taught import plain_mobile, taught
from ckd.train.recipes.text import with_overrides


def plain() -> Recipe:
    """A classifier and a U-Net without guidance, one epoch each."""
    return with_overrides(
        plain_mobile(),
        [
            "image_size=32", "precision=32-true",
            "stages.cls.epochs=1", "stages.cls.batch_size=4",
            "stages.seg.epochs=1", "stages.seg.batch_size=4",
            "system.decoder_widths=[8, 8, 8, 8, 8]",
        ],
    )  # fmt: skip


def taught_plain() -> Recipe:
    """Two members teach two students of the classifier; the U-Net is trained once."""
    recipe = plain()
    stages = taught(recipe.stage("cls"), members=(0, 1), students=(10, 11))
    return replace(recipe, name="taught", stages=(*stages, recipe.stage("seg")))
