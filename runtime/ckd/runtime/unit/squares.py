"""Finds even squares in a photograph, and the grid that they lie in: a chart, whatever its colours.

Suffixes: H rows, W columns, C channels; K squares. Points are (x, y) in pixels.
"""

from collections import deque
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

#: Changes of code values from one pixel to the next that may bound a square.
_EDGES: Final = (0.8, 1.5, 3.0, 6.0, 12.0)
_LEAST_SIDE_PX: Final = 7
#: Sides of a square that are alike, and how much of the square they hold.
_LEAST_ASPECT, _LEAST_FILLED = 0.72, 0.82
#: From one centre to the next, in sides of a square as it is found, edges left out.
_NEAREST, _FARTHEST, _ASIDE = 1.0, 2.0, 0.35
#: Squares of a grid are so much alike.
_LARGER: Final = 1.5


class Square(NamedTuple):
    """An even square."""

    x: float
    y: float
    side_px: float
    angle_deg: float  # of a side against the rows, -45 to 45


class Grid(NamedTuple):
    """Squares in columns and rows, by whole numbers from 0."""

    cells_K2: NDArray[np.int64]  # column and row of each
    centres_K2: NDArray[np.float64]
    side_px: float


def find_squares(image_HWC: NDArray[np.uint8]) -> list[Square]:
    """The even squares of a photograph of some hundred pixels, each once."""
    smooth_HWC = cv2.GaussianBlur(cv2.medianBlur(image_HWC, 5), (0, 0), 1.0).astype(np.float32)
    across_HWC = cv2.Sobel(smooth_HWC, cv2.CV_32F, 1, 0, scale=1 / 8)
    down_HWC = cv2.Sobel(smooth_HWC, cv2.CV_32F, 0, 1, scale=1 / 8)
    squared_HWC = across_HWC**2 + down_HWC**2
    red_HW, green_HW, blue_HW = (squared_HWC[..., channel] for channel in range(3))
    change_HW = np.sqrt(np.maximum(np.maximum(red_HW, green_HW), blue_HW))
    found: list[Square] = []
    for edge in _EDGES:
        for square in _even_squares((change_HW < edge).astype(np.uint8)):
            known = (np.hypot(square.x - one.x, square.y - one.y) for one in found)
            if all(distance > square.side_px / 2 for distance in known):
                found.append(square)
    return found


def largest_grid(squares: list[Square]) -> Grid | None:
    """The grid of most squares, neighbour by neighbour; None without squares."""
    best: dict[int, tuple[int, int]] = {}
    for seed in range(len(squares)):
        if seed not in best:
            cells = _grown(squares, seed)
            best = max(best, cells, key=len)
    if not best:
        return None
    cells_K2 = np.array(list(best.values()))
    chosen = [squares[index] for index in best]
    centres_K2 = np.array([(one.x, one.y) for one in chosen], np.float64)
    side_px = float(np.median([one.side_px for one in chosen]))
    return Grid(cells_K2 - cells_K2.min(axis=0), centres_K2, side_px)


def _even_squares(even_HW: NDArray[np.uint8]) -> list[Square]:
    """Connected parts that are squares."""
    height, width = even_HW.shape
    count, labels_HW, boxes, _ = cv2.connectedComponentsWithStats(even_HW, connectivity=4)
    largest_px = min(height, width) / 4
    found = []
    for label in range(1, count):
        left, top, wide, high, area = (int(value) for value in boxes[label])
        if area < _LEAST_SIDE_PX**2 / 2 or max(wide, high) > 1.5 * largest_px:
            continue
        if min(left, top) == 0 or left + wide == width or top + high == height:
            continue
        part_HW = labels_HW[top : top + high, left : left + wide] == label
        outlines, _ = cv2.findContours(
            part_HW.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        outline = max(outlines, key=cv2.contourArea)
        (x, y), sides, angle_deg = cv2.minAreaRect(outline)
        short, long = min(sides), max(sides)
        if short < _LEAST_SIDE_PX or long > largest_px or short < _LEAST_ASPECT * long:
            continue
        if cv2.contourArea(outline) < _LEAST_FILLED * short * long:
            continue
        turned_deg = (angle_deg + 45) % 90 - 45
        found.append(Square(left + x, top + y, (short + long) / 2, turned_deg))
    return found


def _grown(squares: list[Square], seed: int) -> dict[int, tuple[int, int]]:
    """Column and row of each square that is reached from one, by its number."""
    centres_K2 = np.array([(one.x, one.y) for one in squares])
    sides_px = np.array([one.side_px for one in squares])
    cells, taken = {seed: (0, 0)}, {(0, 0)}
    first_deg, waiting = squares[seed].angle_deg, deque([seed])
    while waiting:
        index = waiting.popleft()
        square, (column, row) = squares[index], cells[index]
        # A square looks the same after a quarter turn, so its angle is taken near the first one's.
        angle = np.radians(first_deg + (square.angle_deg - first_deg + 45) % 90 - 45)
        away_K2 = (centres_K2 - centres_K2[index]) / square.side_px
        right_K = away_K2 @ (np.cos(angle), np.sin(angle))
        down_K = away_K2 @ (-np.sin(angle), np.cos(angle))
        alike_K = (sides_px < _LARGER * square.side_px) & (square.side_px < _LARGER * sides_px)
        for along_K, aside_K, step in (
            (right_K, down_K, (1, 0)), (-right_K, down_K, (-1, 0)),
            (down_K, right_K, (0, 1)), (-down_K, right_K, (0, -1)),
        ):  # fmt: skip
            near_K = alike_K & (along_K > _NEAREST) & (along_K < _FARTHEST)
            near_K &= np.abs(aside_K) < _ASIDE
            cell = (column + step[0], row + step[1])
            if cell in taken or not near_K.any():
                continue
            neighbour = int(np.argmin(np.where(near_K, along_K, np.inf)))
            if neighbour not in cells:
                cells[neighbour] = cell
                taken.add(cell)
                waiting.append(neighbour)
    return cells
