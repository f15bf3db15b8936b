"""Colours of a camera made those of an sRGB screen, by a matrix in linear light.

Light adds up, code values do not: so a tint of lamp or sensor is a matrix of light. Code values are
taken for sRGB (IEC 61966-2-1), as of any picture.

Suffixes: H rows, W columns, C channels in RGB order; N colours in rows.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: Each row gives one channel, of red, green and blue of the camera.
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
#: Light of full white in the tables.
_FULL: Final = 65535
#: Rows that fit into the processor's cache while they pass through all steps.
_STRIP_ROWS: Final = 16


def matrix_of(rows: Iterable[Sequence[float]]) -> Matrix:
    """Three rows of three numbers as a `Matrix`."""
    first, second, third = ((float(red), float(green), float(blue)) for red, green, blue in rows)
    return first, second, third


def light_of(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light, 0 to 1, of code values of sRGB, 0 to 255."""
    share = code / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def code_of(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Code values of sRGB, 0 to 255, of light; what lies outside 0 to 1 is cut off."""
    kept = np.clip(light, 0.0, 1.0)
    share = np.where(kept <= 0.0031308, 12.92 * kept, 1.055 * kept ** (1 / 2.4) - 0.055)
    return 255.0 * share


class ColourMatrix:
    """Applies a matrix to pictures.

    Args:
        matrix: three rows of three numbers.
    """

    def __init__(self, matrix: Sequence[Sequence[float]] | NDArray[np.float64]) -> None:
        self._matrix_CC = np.asarray(matrix, np.float64)
        codes = np.arange(256, dtype=np.float64)
        self._light = np.round(_FULL * light_of(codes)).astype(np.uint16)
        lights = np.arange(_FULL + 1, dtype=np.float64) / _FULL
        self._code = np.round(code_of(lights)).astype(np.uint8)

    def applied(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A new picture; colours that a screen cannot show are cut off."""
        corrected_HWC = np.empty_like(image_HWC)
        for top in range(0, image_HWC.shape[0], _STRIP_ROWS):
            rows = slice(top, top + _STRIP_ROWS)
            light_HWC = cv2.LUT(image_HWC[rows], self._light)
            light_HWC = cv2.transform(light_HWC, self._matrix_CC)
            lights_HWC = np.asarray(light_HWC, dtype=np.uint16)
            np.take(self._code, lights_HWC, out=corrected_HWC[rows], mode="clip")
        return corrected_HWC
