"""Which random changes a recipe makes to its training images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from ckd.train.settings import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random changes of one training image; ranges are symmetric unless given as (low, high).

    ``colour``: "one_of_seven" is CKDNet's choice among seven jitters, "strong" additionally shifts
    white balance, gamma and sharpness, for robustness against other cameras. ``crop_scales`` are
    CKDNet's multi-scale views for the classifier: beside one view of the whole photograph, which
    then is left as it is, each gives a view of a random crop of that fraction of it, augmented.
    ``turned_views``: SSD-KD's four views, the image turned by 0, 90, 180 and 270 degrees, each then
    augmented on its own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    flip: bool = True
    rotate_deg: NonNegativeFloat = 180.0
    rotate_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the views that are rotated at all
    shear_deg: NonNegativeFloat = 10.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.3)
    shift: tuple[float, float] = (0.01, 0.10)  # of width, of height
    colour: Literal["none", "one_of_seven", "strong"] = "one_of_seven"
    crop_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    crop_margin_px: NonNegativeInt = (
        500  # the crop is taken from a centre that much larger (times its scale)
    )
    turned_views: bool = False
    official_crop_axes: bool = False  # the authors swap width and height here; for parity runs
    border: Literal["black", "reflect"] = "black"  # what a turned image shows beyond its edge
    mask_rule: Literal["half", "any"] = "half"  # "any": the authors' >0, about a pixel too wide
