"""The 24 patches of a colour chart, found in a photograph, whichever way it lies.

The chart is X-Rite's ColorChecker Classic in any size, or another of the same colours. Its colours
are those that its maker gives for charts since November 2014, in L*a*b* for the white D50.

Suffixes: H rows, W columns, C channels; N the 24 patches, row by row.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.runtime.unit.colour import light_of
from ckd.runtime.unit.lab import light_of_lab
from ckd.runtime.unit.squares import find_squares, largest_grid

COLUMNS, ROWS = 6, 4
NAMES: Final = (
    "dark skin", "light skin", "blue sky", "foliage", "blue flower", "bluish green",
    "orange", "purplish blue", "moderate red", "purple", "yellow green", "orange yellow",
    "blue", "green", "red", "yellow", "magenta", "cyan",
    "white", "grey 8", "grey 6.5", "grey 5", "grey 3.5", "black",
)  # fmt: skip
LAB_N3: Final = np.array([
    (37.54, 14.37, 14.92), (64.66, 19.27, 17.50), (49.32, -3.82, -22.54),
    (43.46, -12.74, 22.72), (54.94, 9.61, -24.79), (70.48, -32.26, -0.37),
    (62.73, 35.83, 56.50), (39.43, 10.75, -45.17), (50.57, 48.64, 16.67),
    (30.10, 22.54, -20.87), (71.77, -24.13, 58.19), (71.51, 18.24, 67.37),
    (28.37, 15.42, -49.80), (54.38, -39.72, 32.27), (42.43, 51.05, 28.62),
    (81.80, 2.67, 80.41), (50.63, 51.28, -14.12), (49.57, -29.71, -28.32),
    (95.19, -1.03, 2.93), (81.29, -0.57, 0.44), (66.89, -0.75, -0.06),
    (50.76, -0.13, 0.14), (35.63, -0.46, -0.48), (20.64, 0.07, -0.46),
])  # fmt: skip
#: Light of the patches on a screen; that of cyan has less red than none.
LIGHT_N3: Final = np.clip(light_of_lab(LAB_N3), 0.0, 1.0)

_SEARCHED_PX: Final = 900
_LEAST_SQUARES: Final = 12
#: Side of a patch from one centre to the next as it is sampled, and of the part that is averaged.
_CELL_PX, _INNER_PX = 24, 10
#: Code values of a sensor at its limit, and the share of a patch that may be there.
_FULL_CODE, _MOST_FULL = 253, 0.02


class Patches(NamedTuple):
    """The patches of a chart in a photograph.

    Attributes:
        light_N3: mean light of each, 0 to 1.
        is_full_N: the sensor was at its limit there.
        is_mirrored: the chart is seen as in a mirror.
        to_image: projection [3, 3] from the chart's columns and rows to pixels of the photograph.
    """

    light_N3: NDArray[np.float64]
    is_full_N: NDArray[np.bool_]
    is_mirrored: bool
    to_image: NDArray[np.float64]

    @property
    def corners_N42(self) -> NDArray[np.float64]:
        """Of the part of each that was measured, in pixels of the photograph."""
        half = _INNER_PX / _CELL_PX / 2
        square_42 = half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        places = [[(column, row)] for row in range(ROWS) for column in range(COLUMNS)]
        on_chart = (np.array(places) + square_42).reshape(1, -1, 2)
        found = np.asarray(cv2.perspectiveTransform(on_chart, self.to_image), np.float64)
        return found.reshape(-1, 4, 2)


def placements(image_HWC: NDArray[np.uint8], where: str) -> Iterator[Patches]:
    """The patches for each way in which a chart may lie on the grid of squares that is seen.

    Raises:
        InputError: the photograph has no grid of squares that may be a chart.
    """
    scale = min(1.0, _SEARCHED_PX / max(image_HWC.shape[:2]))
    searched_HWC = np.ascontiguousarray(
        cv2.resize(image_HWC, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if scale < 1
        else image_HWC,
        dtype=np.uint8,
    )
    squares = find_squares(searched_HWC)
    grid = largest_grid(squares)
    if grid is None or len(grid.cells_K2) < _LEAST_SQUARES:
        count = 0 if grid is None else len(grid.cells_K2)
        raise InputError(
            f"{where}: no colour chart found ({count} even squares side by side, expected "
            f"{_LEAST_SQUARES} of 24 or more); photograph the whole chart, in focus and evenly lit"
        )
    cells_K2, centres_K2 = grid.cells_K2.astype(np.float64), (grid.centres_K2 + 0.5) / scale - 0.5
    found, _ = cv2.findHomography(cells_K2, centres_K2, cv2.RANSAC, 0.25 * grid.side_px / scale)
    if found is None:
        return
    for turned, is_mirrored in _turns():
        charted_K2 = grid.cells_K2 @ turned.T
        for shift in _shifts(charted_K2):
            on_grid = np.eye(3)  # from the chart's columns and rows to those of the grid
            on_grid[:2, :2], on_grid[:2, 2] = turned.T, -turned.T @ shift
            patches = _sampled(image_HWC, found @ on_grid, is_mirrored=is_mirrored)
            if patches is not None:
                yield patches


def _turns() -> Iterator[tuple[NDArray[np.int64], bool]]:
    """The eight ways to turn a grid, and whether each mirrors."""
    for mirror in (np.array([[1, 0], [0, 1]]), np.array([[-1, 0], [0, 1]])):
        turned = mirror
        for _ in range(4):
            yield turned, bool(mirror[0, 0] < 0)
            turned = np.array([[0, -1], [1, 0]]) @ turned


def _shifts(charted_K2: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """By how many columns and rows cells can be moved to lie on a chart."""
    least, most = charted_K2.min(axis=0), charted_K2.max(axis=0)
    for column in range(-int(least[0]), COLUMNS - int(most[0])):
        for row in range(-int(least[1]), ROWS - int(most[1])):
            yield np.array([column, row])


def _sampled(
    image_HWC: NDArray[np.uint8], to_image: NDArray[np.float64], *, is_mirrored: bool
) -> Patches | None:
    """The patches by a projection from the chart's columns and rows; None if they lie outside."""
    height, width = image_HWC.shape[:2]
    corners = np.array([[(0, 0), (COLUMNS - 1, 0), (COLUMNS - 1, ROWS - 1), (0, ROWS - 1)]], float)
    outline = cv2.perspectiveTransform(corners, to_image)[0]
    if outline.min() < 0 or (outline.max(axis=0) > (width - 1, height - 1)).any():
        return None
    # From pixels of a picture in which the chart lies straight.
    straight = np.array([[1 / _CELL_PX, 0, -0.5], [0, 1 / _CELL_PX, -0.5], [0, 0, 1]])
    straight[:2, 2] += 0.5 / _CELL_PX
    size = (COLUMNS * _CELL_PX, ROWS * _CELL_PX)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    chart_HWC = cv2.warpPerspective(image_HWC, to_image @ straight, size, flags=flags)
    cells = np.asarray(chart_HWC).reshape(ROWS, _CELL_PX, COLUMNS, _CELL_PX, 3)
    inner = slice((_CELL_PX - _INNER_PX) // 2, (_CELL_PX + _INNER_PX) // 2)
    kept = cells[:, inner, :, inner].transpose(0, 2, 1, 3, 4)
    pixels = kept.reshape(ROWS * COLUMNS, _INNER_PX**2, 3)
    is_full_N = (pixels >= _FULL_CODE).mean(axis=1).max(axis=1) > _MOST_FULL
    light_N3 = light_of(pixels.astype(np.float64)).mean(axis=1)
    return Patches(light_N3, is_full_N, is_mirrored, to_image)
