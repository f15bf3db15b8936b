"""The outline of a mask as polygons with holes, in pixels of the photograph.

Suffixes: H rows, W columns of the photograph.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def box_of(mask_HW: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns that hold a whole mask, the first ones of an empty mask.

    OpenCV takes as long for what lies around a lesion as for the lesion, which mostly is small.
    """
    x, y, width, height = cv2.boundingRect(mask_HW.view(np.uint8))
    return slice(y, y + max(1, height)), slice(x, x + max(1, width))


def mask_on_grid(mask_HW: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """A mask at so many cells a side, whatever its shape: the pixel in the middle of each cell."""
    shrunk = cv2.resize(mask_HW.view(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    return np.asarray(shrunk > 0, np.bool_)


def outline_of(mask_HW: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The parts of a mask, each ``{"outer": ring, "holes": [ring, ...]}``; the largest ring first.

    A ring is a closed polygon of [x, y] points, the first of which is not repeated; x counts
    columns and y rows of the photograph, from 0. Points are centres of pixels of the lesion: the
    outermost ones of a part, and those around a hole. Points on a straight line between others are
    left out. Filling a part's outer ring and its border, and then clearing what lies strictly
    within the rings of its holes, gives the mask again, to the pixel (`mask_of`).

    Args:
        mask_HW: True on the lesion.
    """
    rows, columns = box_of(mask_HW)
    rings, tree = cv2.findContours(
        mask_HW[rows, columns].astype(np.uint8),
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_SIMPLE,
        offset=(columns.start, rows.start),
    )
    if tree is None:
        return []
    parts: dict[int, dict[str, Any]] = {}
    for number, ring in enumerate(rings):
        points = ring[:, 0].tolist()
        parent = int(tree[0, number, 3])
        if parent < 0:
            parts[number] = {"outer": points, "holes": []}
        else:
            parts[parent]["holes"].append(points)
    return sorted(parts.values(), key=lambda part: -_extent(part["outer"]))


def mask_of(outline: list[dict[str, Any]], height: int, width: int) -> NDArray[np.bool_]:
    """The mask that `outline_of` was given, [height, width]."""
    filled_HW = np.zeros((height, width), np.uint8)
    for part in outline:
        cv2.fillPoly(filled_HW, [np.array(part["outer"], np.int32)], 1)
        for hole in part["holes"]:
            ring = np.array(hole, np.int32)
            cv2.fillPoly(filled_HW, [ring], 0)
            cv2.polylines(filled_HW, [ring], isClosed=True, color=1)
    return filled_HW > 0


def _extent(points: list[list[int]]) -> float:
    return float(cv2.contourArea(np.array(points, np.int32)))
