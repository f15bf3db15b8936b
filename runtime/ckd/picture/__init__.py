"""What a photograph is: decoding as a viewer shows it, checks, and the one resize."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.picture.decode import (
        IMAGE_SUFFIXES,
        MAX_PIXELS,
        MIN_SIDE_PX,
        check_rgb,
        read_picture,
        read_rgb,
    )
    from ckd.picture.resize import network_image, num_halvings
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.picture.decode": (
                "IMAGE_SUFFIXES MAX_PIXELS MIN_SIDE_PX check_rgb read_picture read_rgb"
            ),
            "ckd.picture.resize": "network_image num_halvings",
        },
    )

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "check_rgb",
    "network_image",
    "num_halvings",
    "read_picture",
    "read_rgb",
]
