"""The one writer of JPEG: what is recorded, and what the live page shows."""

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

#: Of libjpeg; at 90 no block shows in skin.
JPEG_QUALITY: Final = 90
#: Likewise: no JPEG is longer or wider.
JPEG_MAX_SIDE_PX: Final = 65_500


def encode_jpeg(image_HWC: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """A picture, uint8 RGB [H, W, 3], as a JPEG of libjpeg's quality, with colour at half size.

    Colour is sampled at every second pixel of both directions (4:2:0), which all players and
    browsers show.
    """
    contiguous_HWC = np.ascontiguousarray(image_HWC)
    return bytes(simplejpeg.encode_jpeg(contiguous_HWC, quality, "RGB", "420"))
