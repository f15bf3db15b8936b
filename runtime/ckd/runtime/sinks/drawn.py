"""A picture that is drawn and encoded at most once, and only if somebody asks for it."""

import threading
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.picture.encode import encode_jpeg


class Drawn:
    """A drawing that recordings and viewers share; any thread may ask for it.

    Args:
        draw: gives the picture, uint8 RGB [H, W, 3]; called once, when first asked for.
    """

    def __init__(self, draw: Callable[[], NDArray[np.uint8]]) -> None:
        self._draw = draw
        self._making = threading.RLock()  # guards the next two
        self._image_HWC: NDArray[np.uint8] | None = None
        self._jpeg: bytes | None = None

    @property
    def image_HWC(self) -> NDArray[np.uint8]:
        """The picture, uint8 RGB [H, W, 3]; nobody may change it."""
        with self._making:
            if self._image_HWC is None:
                self._image_HWC = self._draw()
            return self._image_HWC

    @property
    def jpeg(self) -> bytes:
        """The picture at full resolution, as `encode_jpeg` encodes it."""
        with self._making:
            if self._jpeg is None:
                self._jpeg = encode_jpeg(self.image_HWC)
            return self._jpeg

    def fitted_jpeg(self, size_hw: tuple[int, int]) -> bytes:
        """The picture as a JPEG of so many rows and columns: as large as fits, on black."""
        image_HWC = self.image_HWC
        if image_HWC.shape[:2] == size_hw:
            return self.jpeg
        return encode_jpeg(_fitted(image_HWC, size_hw))


def _fitted(image_HWC: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size_hw
    scale = min(height / image_HWC.shape[0], width / image_HWC.shape[1])
    inner_hw = [max(1, round(scale * side)) for side in image_HWC.shape[:2]]
    inner_HWC = cv2.resize(image_HWC, inner_hw[::-1], interpolation=cv2.INTER_AREA)
    canvas_HWC = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_hw[0]) // 2, (width - inner_hw[1]) // 2
    canvas_HWC[top : top + inner_hw[0], left : left + inner_hw[1]] = inner_HWC
    return canvas_HWC
