"""Settings of the random changes that a recipe makes to its training images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from ckd.train.settings import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random changes of one training image; ranges are symmetric unless they are (low, high).

    ``colour``: "one_of_seven" is CKDNet's choice among seven jitters; "strong" also changes white
    balance, gamma and sharpness, for robustness against other cameras. ``crop_scales`` are CKDNet's
    multi-scale views for the classifier: each gives an augmented view of a random crop of that
    fraction, in addition to one view of the whole photograph, which is not augmented then.
    ``turned_views`` are SSD-KD's four views: the image turned by 0, 90, 180 and 270 degrees, each
    augmented separately.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    flip: bool = True
    rotate_deg: NonNegativeFloat = 180.0
    rotate_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the views that are rotated
    shear_deg: NonNegativeFloat = 10.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.3)
    shift: tuple[float, float] = (0.01, 0.10)  # of width, of height
    colour: Literal["none", "one_of_seven", "strong"] = "one_of_seven"
    crop_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    crop_margin_px: NonNegativeInt = (
        500  # the centre that a crop is taken from is larger by this, times the crop's scale
    )
    turned_views: bool = False
    official_crop_axes: bool = False  # swaps width and height as the authors do, for parity runs
    border: Literal["black", "reflect"] = "black"  # shown beyond the edge of a turned image
    mask_rule: Literal["half", "any"] = (
        "half"  # "any" is the authors' >0, which is about a pixel too wide
    )
