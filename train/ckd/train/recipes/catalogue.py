"""All recipes by name.

A user's own recipe is a JSON file as saved in every run folder; `--recipe FILE` takes it.
"""

from collections.abc import Callable
from pathlib import Path

from ckd.contract.errors import UsageError
from ckd.train.recipes.ckdnet import ckdnet_mobile, ckdnet_r101, ckdnet_tiny
from ckd.train.recipes.clnet import clnet
from ckd.train.recipes.distilled import ckdnet_mobile_distilled
from ckd.train.recipes.multitask import multitask
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.ssdkd import (
    ssdkd,
    ssdkd_alone,
    ssdkd_dkd,
    ssdkd_fitnet,
    ssdkd_kd,
    ssdkd_rkd,
)
from ckd.train.recipes.taught import ckdnet_mobile_taught, plain_mobile
from ckd.train.recipes.text import load_recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "ckdnet-r101": ckdnet_r101,
    "ckdnet-mobile": ckdnet_mobile,
    "ckdnet-tiny": ckdnet_tiny,
    "plain-mobile": plain_mobile,
    "clnet": clnet,
    "ckdnet-mobile-distilled": ckdnet_mobile_distilled,
    "ckdnet-mobile-taught": ckdnet_mobile_taught,
    "multitask": multitask,
    "ssdkd": ssdkd,
    "ssdkd-alone": ssdkd_alone,
    "ssdkd-kd": ssdkd_kd,
    "ssdkd-fitnet": ssdkd_fitnet,
    "ssdkd-rkd": ssdkd_rkd,
    "ssdkd-dkd": ssdkd_dkd,
}


def find_recipe(name_or_file: str) -> Recipe:
    """A recipe by name, or from a JSON file; `UsageError` lists the known names."""
    if name_or_file in RECIPES:
        return RECIPES[name_or_file]()
    path = Path(name_or_file)
    if path.suffix == ".json" and path.is_file():
        return load_recipe(path)
    raise UsageError(
        f"no recipe {name_or_file!r}; expected a JSON file or one of {', '.join(RECIPES)}"
    )
