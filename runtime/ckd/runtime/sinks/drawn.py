"""A picture that is drawn and encoded at most once, and only if somebody asks for it."""

import threading
from collections.abc import Callable

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
