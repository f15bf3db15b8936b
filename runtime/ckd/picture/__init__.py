"""What a photograph is: decoding as a viewer shows it, checks, folders, and the one resize."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.picture.companions import ISIC_MASK, MASK_WORD
    from ckd.picture.decode import (
        MAX_PIXELS,
        MIN_SIDE_PX,
        check_rgb,
        holds_image,
        read_picture,
        read_rgb,
    )
    from ckd.picture.drawing import read_drawing
    from ckd.picture.encode import encode_jpeg
    from ckd.picture.folders import Photographs, masks_in, photographs_in
    from ckd.picture.formats import IMAGE_SUFFIXES
    from ckd.picture.resize import network_image, num_halvings
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.picture.companions": "ISIC_MASK MASK_WORD",
            "ckd.picture.decode": (
                "MAX_PIXELS MIN_SIDE_PX check_rgb holds_image read_picture read_rgb"
            ),
            "ckd.picture.drawing": "read_drawing",
            "ckd.picture.encode": "encode_jpeg",
            "ckd.picture.folders": "Photographs masks_in photographs_in",
            "ckd.picture.formats": "IMAGE_SUFFIXES",
            "ckd.picture.resize": "network_image num_halvings",
        },
    )

__all__ = [
    "IMAGE_SUFFIXES",
    "ISIC_MASK",
    "MASK_WORD",
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "Photographs",
    "check_rgb",
    "encode_jpeg",
    "holds_image",
    "masks_in",
    "network_image",
    "num_halvings",
    "photographs_in",
    "read_drawing",
    "read_picture",
    "read_rgb",
]
