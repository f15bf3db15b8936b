"""How a camera sits in its handle: the round field, turned and mirrored back.

Suffixes: H rows, W columns, C channels. Pixels are only cut off and moved, never mixed.
"""

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

QuarterTurns = Literal[0, 90, 180, 270]
_TURNS: Final = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What is done to every picture, in this order; the defaults do nothing.

    Attributes:
        field_px: centre (x, y) and diameter of the round field in the camera's own pixels, counted
            from the top left corner: the square around it is kept, or what of it the picture has.
        rotate_deg: the picture is turned clockwise by so much.
        mirror: left and right are exchanged.
        flip: top and bottom are exchanged.
    """

    field_px: tuple[float, float, float] | None = None
    rotate_deg: QuarterTurns = 0
    mirror: bool = False
    flip: bool = False

    def __bool__(self) -> bool:
        return self != Geometry()

    def applied(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as it should be, contiguous; the same array if nothing is to be done."""
        if not self:
            return image_HWC
        rows, columns = self._kept(image_HWC.shape[0], image_HWC.shape[1])
        kept_HWC: cv2.typing.MatLike = image_HWC[rows, columns]
        if self.rotate_deg:
            kept_HWC = cv2.rotate(kept_HWC, _TURNS[self.rotate_deg])
        if self.mirror or self.flip:
            kept_HWC = cv2.flip(kept_HWC, -1 if self.mirror and self.flip else int(self.mirror))
        return np.ascontiguousarray(kept_HWC, dtype=np.uint8)

    def size_hw(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of what a picture of so many becomes."""
        rows, columns = self._kept(height, width)
        size_hw = (rows.stop - rows.start, columns.stop - columns.start)
        return size_hw[::-1] if self.rotate_deg in (90, 270) else size_hw

    def _kept(self, height: int, width: int) -> tuple[slice, slice]:
        if self.field_px is None:
            return slice(0, height), slice(0, width)
        x, y, diameter = self.field_px
        return _within(y, diameter, height), _within(x, diameter, width)


def _within(centre: float, diameter: float, length: int) -> slice:
    start = round(centre - diameter / 2)
    return slice(max(0, start), min(length, start + round(diameter)))
