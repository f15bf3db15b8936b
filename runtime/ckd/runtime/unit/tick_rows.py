"""Finds the direction of a ruler's ticks in a photograph, and the rows that they stand in.

The direction comes from the strongest waves of the picture (as in Bhalerao and Reynolds 2014, Int.
J. Digital Crime and Forensics 6:9), and is turned until the ticks stand upright. Ticks are then
sought in strips, as the longer ones reach where the others do not.

Suffixes: H rows, W columns of the picture in grey.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.runtime.unit.ticks import Comb, comb_in

#: Distances of ticks that differ by a smaller share are one.
ALIKE = 0.05
#: Longer side of the picture in which waves are sought; how many directions, how far apart.
_SEARCHED_PX, _NUM_DIRECTIONS, _APART = 768, 5, np.radians(5)
#: Shortest and longest wave there, in pixels and as a share of the side.
_SHORTEST_PX, _LONGEST_SHARE = 3.5, 1 / 6
#: A row of ticks is sought in so many strips, of so many rows; shorter ones are left out.
_NUM_STRIPS, _LEAST_ROWS, _LEAST_SPAN = 14, 4, 0.6
#: A direction is turned so often at most, or until ticks stand no more askew.
_NUM_TURNS, _ASKEW = 5, 0.001
#: Code values times pixels: less is rounding.
_LEAST_WAVE = 0.1


@dataclass(frozen=True, slots=True)
class TickRows:
    """The rows of ticks in one direction.

    Attributes:
        angle: in radians.
        combs: the ticks of each row.
        tops: first row of the turned picture that each was sought in.
        thickness: of how many rows.
    """

    angle: float
    combs: tuple[Comb, ...]
    tops: tuple[int, ...]
    thickness: int

    @property
    def finest(self) -> Comb:
        """The row of the least distance, and of those alike the one that keeps it best."""
        return min(self._alike, key=lambda comb: comb.error_px)

    def marks(self, size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """Both ends, (x, y) in a picture of that size, of the finest row's ticks as they were seen.

        Gives float [K, 2, 2].
        """
        finest = self.finest
        top = self.tops[self.combs.index(finest)]
        turned = [[(x, top), (x, top + self.thickness)] for x in finest.places_px]
        back = cv2.invertAffineTransform(_turn(size_hw, self.angle)[0])
        return np.asarray(cv2.transform(np.array(turned, np.float64), back))

    @property
    def spread(self) -> float:
        """How much the least distance differs between rows as long as the finest, as a share."""
        finest = self.finest
        long = [one.period_px for one in self._alike if one.span_px > 0.9 * finest.span_px]
        return float(np.std(long)) / finest.period_px

    @property
    def _alike(self) -> list[Comb]:
        least_px = min(comb.period_px for comb in self.combs)
        return [comb for comb in self.combs if comb.period_px < least_px * (1 + ALIKE)]

    @property
    def weight(self) -> float:
        """How much they tell: the number of ticks, and how evenly they lie."""
        finest = self.finest
        return finest.num_ticks / (1 + 20 * finest.error_px / finest.period_px)


def best_rows(grey_HW: NDArray[np.float32]) -> TickRows | None:
    """The rows of ticks in the direction that has the best: sought small, measured as it is."""
    scale = min(1.0, _SEARCHED_PX / max(grey_HW.shape))
    small_HW = grey_HW
    if scale < 1:
        small_HW = np.asarray(
            cv2.resize(grey_HW, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
            dtype=np.float32,
        )
    best: TickRows | None = None
    for angle, period_px in _waves(small_HW):
        rows = _rows_along(small_HW, angle, period_px)
        if rows is not None and (best is None or rows.weight > best.weight):
            best = rows
    if best is None:
        return None
    # Once more from there: the wave that led to it may have been some degrees off.
    return _rows_along(grey_HW, best.angle, best.finest.period_px / scale)


def _waves(small_HW: NDArray[np.float32]) -> Iterator[tuple[float, float]]:
    """Direction in radians and length in pixels of the strongest waves, each direction once."""
    side = max(small_HW.shape)
    small_HW = small_HW - cv2.GaussianBlur(small_HW, (0, 0), side / 40)
    limit = 3 * float(np.median(np.abs(small_HW))) + 1e-3
    small_HW = np.clip(small_HW, -limit, limit)
    # A flat window: a ruler often lies at the border of the picture.
    window_HW = np.outer(np.hanning(small_HW.shape[0]), np.hanning(small_HW.shape[1])) ** 0.25
    length = cv2.getOptimalDFTSize(side)
    power_HW = np.abs(np.fft.rfft2(small_HW * window_HW, (length, length)))
    down_H1 = np.fft.fftfreq(length)[:, None]
    across_1W = np.fft.rfftfreq(length)[None]
    frequency_HW = np.hypot(down_H1, across_1W)
    inside = (frequency_HW < 1 / _SHORTEST_PX) & (frequency_HW > 1 / (_LONGEST_SHARE * side))
    power_HW = np.where(inside, power_HW * np.sqrt(frequency_HW), 0)
    angle_HW = np.arctan2(down_H1, across_1W)
    for _ in range(_NUM_DIRECTIONS):
        row, column = np.unravel_index(int(power_HW.argmax()), power_HW.shape)
        if power_HW[row, column] <= 0:
            return
        angle = float(angle_HW[row, column])
        yield angle, 1 / float(frequency_HW[row, column])
        power_HW[np.abs(np.sin(angle_HW - angle)) < np.sin(_APART)] = 0


def _rows_along(grey_HW: NDArray[np.float32], angle: float, period_px: float) -> TickRows | None:
    """The rows of ticks in one direction; ``period_px`` is their wave's length or a part of it."""
    for _ in range(_NUM_TURNS):  # ticks stand a little askew to the direction of the wave
        turned_HW = _turned(grey_HW, angle)
        wave_H = _wave_of_rows(turned_HW, period_px)
        top, bottom = _band(np.abs(wave_H), period_px)
        if bottom - top < _LEAST_ROWS:
            return None
        steps = np.abs(wave_H[top:bottom])
        if steps.max() < _LEAST_WAVE:
            return None
        phase = np.unwrap(np.angle(wave_H[top:bottom]))
        askew = np.polyfit(np.arange(top, bottom), phase, 1, w=steps)[0] * period_px / (2 * np.pi)
        if abs(askew) > np.tan(2 * _APART):
            return None
        angle += float(np.arctan(askew))
        if abs(askew) < _ASKEW:
            break
    turned_HW, reach = _turned(grey_HW, angle), bottom - top
    thickness = max(_LEAST_ROWS, reach // 4)
    first, last = max(0, top - reach), min(turned_HW.shape[0], bottom + reach) - thickness
    found: list[tuple[int, Comb]] = []
    for start in np.unique(np.linspace(first, last, _NUM_STRIPS).astype(int)):
        profile_W = turned_HW[start : start + thickness].mean(axis=0, dtype=np.float64)
        if (comb := _settled(profile_W, period_px)) is not None:
            found.append((int(start), comb))
    if not found:
        return None
    longest_px = max(comb.span_px for _, comb in found)
    kept = [(top, comb) for top, comb in found if comb.span_px > _LEAST_SPAN * longest_px]
    combs = tuple(comb for _, comb in kept)
    return TickRows(angle, combs, tuple(top for top, _ in kept), thickness)


def _settled(profile_W: NDArray[np.float64], period_px: float) -> Comb | None:
    """The ticks in a profile once it was cleaned for the distance that they have."""
    for _ in range(3):
        comb = comb_in(_cleaned(profile_W, period_px), period_px)
        if comb is None or abs(comb.period_px / period_px - 1) < 0.1:
            return comb
        period_px = comb.period_px
    return None


def _turned(grey_HW: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """The whole picture, turned so that a direction runs along its rows, what is new in grey."""
    turn, size = _turn((grey_HW.shape[0], grey_HW.shape[1]), angle)
    turned_HW = cv2.warpAffine(
        grey_HW, turn, size, flags=cv2.INTER_LINEAR, borderValue=float(np.median(grey_HW))
    )
    return np.asarray(turned_HW, dtype=np.float32)


def _turn(size_hw: tuple[int, int], angle: float) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """How a picture is turned, as an affine matrix [2, 3], and the (width, height) it has then."""
    height, width = size_hw
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    size = (int(width * cos + height * sin) + 2, int(width * sin + height * cos) + 2)
    centre = ((width - 1) / 2, (height - 1) / 2)
    turn = np.asarray(cv2.getRotationMatrix2D(centre, float(np.degrees(angle)), 1.0), np.float64)
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return turn, size


def _wave_of_rows(turned_HW: NDArray[np.float32], period_px: float) -> NDArray[np.complex64]:
    """Strength and phase of the wave in each row."""
    width = turned_HW.shape[1]
    turns_W = 2 * np.pi * np.arange(width) / period_px
    wave_W2 = np.hanning(width)[:, None] * np.stack([np.cos(turns_W), -np.sin(turns_W)], axis=1)
    level_H1 = turned_HW.mean(axis=1, keepdims=True)
    parts_H2 = (turned_HW - level_H1) @ wave_W2.astype(np.float32)
    return np.asarray(parts_H2[:, 0] + 1j * parts_H2[:, 1], dtype=np.complex64)


def _band(strength_H: NDArray[np.float32], period_px: float) -> tuple[int, int]:
    """The rows around the strongest one that have half of its strength."""
    thickness = max(3, round(period_px / 2))
    strength_H = np.convolve(strength_H, np.full(thickness, 1 / thickness), "same")
    middle = int(strength_H.argmax())
    weak = np.flatnonzero(strength_H < strength_H[middle] / 2)
    above, below = weak[weak < middle], weak[weak > middle]
    top = int(above[-1]) + 1 if len(above) else 0
    return top, int(below[0]) if len(below) else len(strength_H)


def _cleaned(profile_W: NDArray[np.float64], period_px: float) -> NDArray[np.float64]:
    """A profile without slow changes of light and without the finest grain."""
    row = profile_W[None].astype(np.float32)
    smooth = cv2.GaussianBlur(row, (0, 0), max(0.6, min(2.0, period_px / 12)))
    slow = cv2.GaussianBlur(row, (0, 0), 1.5 * period_px)
    return np.asarray((smooth - slow)[0], dtype=np.float64)
