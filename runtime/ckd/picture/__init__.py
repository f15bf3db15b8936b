"""What a photograph is: decoding as a viewer shows it, checks, folders, and the one resize."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.picture.companions import ISIC_MASK, MASK_WORD, is_of_unit
    from ckd.picture.decode import (
        MAX_PIXELS,
        MIN_SIDE_PX,
        check_rgb,
        holds_image,
        read_picture,
        read_rgb,
    )
    from ckd.picture.drawing import read_drawing
    from ckd.picture.encode import JPEG_MAX_SIDE_PX, encode_jpeg
    from ckd.picture.folders import Photographs, masks_in, photographs_in
    from ckd.picture.formats import IMAGE_SUFFIXES
    from ckd.picture.limits import ImpossibleSize, check_size
    from ckd.picture.resize import network_image, num_halvings
    from ckd.picture.whole import begins_as_picture, whole_rgb
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.picture.companions": "ISIC_MASK MASK_WORD is_of_unit",
            "ckd.picture.decode": (
                "MAX_PIXELS MIN_SIDE_PX check_rgb holds_image read_picture read_rgb"
            ),
            "ckd.picture.drawing": "read_drawing",
            "ckd.picture.encode": "JPEG_MAX_SIDE_PX encode_jpeg",
            "ckd.picture.folders": "Photographs masks_in photographs_in",
            "ckd.picture.formats": "IMAGE_SUFFIXES",
            "ckd.picture.limits": "ImpossibleSize check_size",
            "ckd.picture.resize": "network_image num_halvings",
            "ckd.picture.whole": "begins_as_picture whole_rgb",
        },
    )

__all__ = [
    "IMAGE_SUFFIXES",
    "ISIC_MASK",
    "JPEG_MAX_SIDE_PX",
    "MASK_WORD",
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "ImpossibleSize",
    "Photographs",
    "begins_as_picture",
    "check_rgb",
    "check_size",
    "encode_jpeg",
    "holds_image",
    "is_of_unit",
    "masks_in",
    "network_image",
    "num_halvings",
    "photographs_in",
    "read_drawing",
    "read_picture",
    "read_rgb",
    "whole_rgb",
]
