"""The ticks of a ruler along a line: where they are, and the even distance that they keep.

All in pixels along the ruler. Suffixes: W places along the line; K ticks.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Ticks that make a ruler.
LEAST_TICKS: Final = 8
#: Of the distance: how far ticks lie off even places, and the most that one does.
_MOST_SPREAD, _MOST_OFF = 0.06, 0.2
#: Share of even places from the first tick to the last that have one.
_LEAST_FILLED: Final = 0.9
#: Height of the weakest tick, of the usual one.
_WEAKEST: Final = 0.35
#: The usual tick is as high as the peak of this rank, counted in ticks that have room.
_SURE: Final = 0.25
#: How much the distance may change from end to end: more is a ruler that lies askew.
MOST_CHANGE: Final = 0.03


@dataclass(frozen=True, slots=True)
class Comb:
    """Ticks at even distances.

    Attributes:
        period_px: from one to the next, in the middle.
        error_px: of the period, a standard error of the curve through all places.
        places_px: of each, in order.
        num_places: from first to last, with those that are missing.
        change: of the period from end to end, as a share of it.
    """

    period_px: float
    error_px: float
    places_px: tuple[float, ...]
    num_places: int
    change: float

    @property
    def num_ticks(self) -> int:
        """That were found."""
        return len(self.places_px)

    @property
    def span_px(self) -> float:
        """From the first tick to the last."""
        return self.period_px * (self.num_places - 1)


def comb_in(profile_W: NDArray[np.float64], period_px: float) -> Comb | None:
    """The ticks in a profile, dark or bright on what lies between them; None if there are none.

    ``period_px`` is about how far they lie apart, or a few times that.
    """
    combs = [_comb_of(peaks_in(sign * profile_W, period_px)) for sign in (1.0, -1.0)]
    found = [comb for comb in combs if comb is not None]
    return max(found, key=lambda comb: comb.num_ticks, default=None)


def peaks_in(profile_W: NDArray[np.float64], period_px: float) -> NDArray[np.float64]:
    """Places of the peaks that stand out, to a fraction of a pixel."""
    inner = profile_W[1:-1]
    tops = np.flatnonzero((inner > profile_W[:-2]) & (inner >= profile_W[2:])) + 1
    if len(tops) < LEAST_TICKS:
        return np.empty(0)
    # Ticks are narrow, so most places lie between them.
    heights = profile_W[tops] - np.median(profile_W)
    rank = min(len(heights), max(1, round(_SURE * len(profile_W) / period_px)))
    usual = np.partition(heights, -rank)[-rank]
    tops = tops[heights > max(_WEAKEST * usual, 0.0)]
    below, above = profile_W[tops - 1], profile_W[tops + 1]
    bend = below - 2 * profile_W[tops] + above
    return np.asarray(tops + (below - above) / (2 * np.minimum(bend, -1e-12)))


def _comb_of(places_K: NDArray[np.float64]) -> Comb | None:
    if len(places_K) < LEAST_TICKS:
        return None
    period_px = float(np.median(np.diff(places_K)))
    numbers_K = _numbered(places_K, period_px)
    run = _longest_run(places_K, numbers_K, period_px)
    if run.stop - run.start >= LEAST_TICKS + 2:  # the border may have cut the outermost
        run = slice(run.start + 1, run.stop - 1)
    places_K, numbers_K = places_K[run], numbers_K[run]
    for _ in range(3):
        if len(places_K) < LEAST_TICKS:
            return None
        centred_K = numbers_K - numbers_K.mean()
        bend, slope, middle = np.polyfit(centred_K, places_K, 2)  # a ruler that lies askew bends it
        off_K = np.abs(places_K - np.polyval((bend, slope, middle), centred_K))
        kept = off_K < _MOST_OFF * slope
        if kept.all():
            break
        places_K, numbers_K = places_K[kept], numbers_K[kept]
    num_places = int(numbers_K[-1] - numbers_K[0]) + 1
    spread_px = float(np.sqrt(np.mean(off_K[kept] ** 2)))
    is_even = kept.all() and spread_px < _MOST_SPREAD * slope
    if not is_even or len(places_K) < _LEAST_FILLED * num_places:
        return None
    freedom = len(places_K) - 3
    error_px = spread_px * np.sqrt(len(places_K) / freedom / np.sum(centred_K**2))
    change = abs(2 * bend * (num_places - 1)) / slope
    return Comb(
        float(slope), float(error_px), tuple(map(float, places_K)), num_places, float(change)
    )


def _numbered(places_K: NDArray[np.float64], period_px: float) -> NDArray[np.int64]:
    """A whole number for each place, from neighbour to neighbour, as a lens may bend the line."""
    steps = np.maximum(np.round(np.diff(places_K) / max(period_px, 1e-9)), 0)
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)


def _longest_run(
    places_K: NDArray[np.float64], numbers_K: NDArray[np.int64], period_px: float
) -> slice:
    """The longest row of places whose neighbours keep the distance, one of two left out at most."""
    steps = np.diff(numbers_K)
    off = np.abs(np.diff(places_K) - steps * period_px)
    good = (steps >= 1) & (steps <= 2) & (off < 2 * _MOST_OFF * period_px)
    best, start = slice(0, 1), 0
    for index in range(len(good) + 1):
        if index == len(good) or not good[index]:
            if index + 1 - start > best.stop - best.start:
                best = slice(start, index + 1)
            start = index + 1
    return best
