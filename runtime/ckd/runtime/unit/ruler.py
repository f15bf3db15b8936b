"""Millimetres per pixel, of the ticks of a ruler in a photograph.

The distance comes from a line through the places of single ticks: a spectrum alone is off by up to
half a period in the whole length, and takes every fifth tick, which is longer, for the next one. So
the finest row of ticks counts, and the coarser ones must be whole multiples of it.

Suffixes: H rows, W columns, C channels.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.runtime.unit.tick_rows import ALIKE, TickRows, best_rows
from ckd.runtime.unit.ticks import LEAST_TICKS, MOST_CHANGE

#: Widths of a picture on the skin that a dermatoscope or a hand-held camera has.
_LEAST_MM, _MOST_MM = 2.0, 300.0
#: Two standard errors: 95 %.
_COVERAGE: Final = 2.0
#: Of the places of ticks, what an even error over the whole row may be.
_EVEN_ERROR_PX: Final = 0.1
_ENDINGS: Final = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True, slots=True)
class Scale:
    """What a ruler tells.

    Attributes:
        mm_per_px: width of a pixel on the ruler.
        error_mm_per_px: of it, at 95 %: from how evenly the ticks lie, how much rows of them
            differ, and a tenth of a pixel.
        num_ticks: that were used.
        tick_px: from one tick to the next.
        width_mm: of the photograph.
        longer: of ticks that stand out, every how many there is one, as (5, 10).
        change: of the scale along the ruler, as a share: the rest of perspective and lens.
        ticks_K22: both ends (x, y) of each in the photograph, as it was seen.
    """

    mm_per_px: float
    error_mm_per_px: float
    num_ticks: int
    tick_px: float
    width_mm: float
    longer: tuple[int, ...]
    change: float
    ticks_K22: NDArray[np.float64]

    @property
    def summary(self) -> str:
        """One line for the person who took the photograph."""
        share = 100 * self.error_mm_per_px / self.mm_per_px
        longer = " and ".join(f"{every}{_ENDINGS.get(every, 'th')}" for every in self.longer)
        stands_out = f"; every {longer} tick is longer" if longer else ""
        return (
            f"{self.num_ticks} ticks, {self.tick_px:.3f} px apart{stands_out}; "
            f"{self.mm_per_px:.6f} mm per pixel, +/- {share:.2f} % (95 %), changing by "
            f"{100 * self.change:.1f} % from end to end; the picture is {self.width_mm:.1f} mm wide"
        )

    @property
    def toml(self) -> str:
        """The lines of a unit file."""
        return f"[picture]\nmm_per_px = {self.mm_per_px:.7f}\n"


def measure_scale(image_HWC: NDArray[np.uint8], tick_mm: float, where: str) -> Scale:
    """Measure the ruler in a photograph, uint8 RGB.

    Args:
        image_HWC: the photograph.
        tick_mm: from one tick of the ruler to the next.
        where: name of the photograph, for messages.

    Raises:
        InputError: there is no ruler in it, it lies askew, or cannot have such ticks.
    """
    grey_HW = np.asarray(image_HWC, np.float32).mean(axis=2)
    rows = best_rows(grey_HW)
    if rows is None:
        raise InputError(
            f"{where}: no ruler found: expected {LEAST_TICKS} ticks or more at even distances; "
            "photograph a ruler that crosses the picture, in focus"
        )
    finest = rows.finest
    if finest.change > MOST_CHANGE and finest.change > 6 * finest.error_px / finest.period_px:
        raise InputError(
            f"{where}: the distance of the ticks changes by {100 * finest.change:.0f} % from end "
            "to end; lay the ruler flat, square to the camera"
        )
    longer = _multiples(rows, where)
    if 2 in longer and tick_mm == 1:
        raise InputError(
            f"{where}: every second tick is longer, as on a ruler with half millimetres; tell what "
            "lies between two ticks, as --tick-mm 0.5"
        )
    mm_per_px = tick_mm / finest.period_px
    width_mm = image_HWC.shape[1] * mm_per_px
    if not _LEAST_MM <= width_mm <= _MOST_MM:
        raise InputError(
            f"{where}: with {tick_mm:g} mm from tick to tick the picture would be "
            f"{width_mm:.3g} mm wide, expected {_LEAST_MM:g} to {_MOST_MM:g}; is --tick-mm right?"
        )
    of_places = np.hypot(finest.error_px / finest.period_px, rows.spread) * _COVERAGE
    error = mm_per_px * float(np.hypot(of_places, _EVEN_ERROR_PX / finest.span_px))
    return Scale(
        mm_per_px, error, finest.num_ticks, finest.period_px, width_mm, longer, finest.change,
        rows.marks((image_HWC.shape[0], image_HWC.shape[1])),
    )  # fmt: skip


def _multiples(rows: TickRows, where: str) -> tuple[int, ...]:
    """Every how many ticks there is a longer one; the finest distance must divide all others."""
    multiples, finest = set(), rows.finest
    for comb in rows.combs:
        ratio = comb.period_px / finest.period_px
        if abs(ratio - round(ratio)) > ALIKE * ratio:
            raise InputError(
                f"{where}: ticks {finest.period_px:.2f} and {comb.period_px:.2f} px apart, which "
                "is no whole multiple; photograph one ruler alone"
            )
        multiples.add(round(ratio))
    return tuple(sorted(multiples - {1}))
