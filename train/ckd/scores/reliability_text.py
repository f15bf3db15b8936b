"""How well probabilities mean what they say, as a table for a model card.

Suffixes: N photographs, K labels, S lesions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.scores.metrics import bootstrap_interval
from ckd.scores.reliability import (
    CalibrationError,
    Probabilities,
    Truth,
    brier_score,
    calibration_error,
    debiased_square,
    log_loss,
    top_label,
)

#: Probabilities that are further off than this are to be mended by half.
LARGE_ERROR: Final = 0.04

#: What the columns are.
CALIBRATION_WORDS: Final = (
    "Intervals are 95 % of the bootstrap over lesions. The expected calibration error (ECE) has 15 "
    "bins of equal mass and is never 0; behind it stands what perfect probabilities of so many "
    "photographs would show, in the mean and at most (19 of 20 times). The debiased error is the "
    "root mean square over the same bins, less what chance adds."
)


@dataclass(frozen=True, slots=True)
class Said:
    """Probabilities, and what was true.

    Attributes:
        truth_NK: True for the labels that are true.
        probabilities_NK: of each label.
        source_N: photographs of one lesion have one number.
        labels: in the order of the columns.
        target: the label that is looked for.
        is_exclusive: one label is true of each photograph.
    """

    truth_NK: Truth
    probabilities_NK: Probabilities
    source_N: NDArray[np.integer[Any]]
    labels: tuple[str, ...]
    target: str
    is_exclusive: bool

    def judged(self) -> list[tuple[Truth, Probabilities]]:
        """Truth and probability of the most probable label, and of the target."""
        column = self.labels.index(self.target)
        return [
            top_label(self.truth_NK, self.probabilities_NK),
            (self.truth_NK[:, column], self.probabilities_NK[:, column]),
        ]


@dataclass(frozen=True, slots=True)
class _Ranged:
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What probabilities are worth.

    Attributes:
        target: the label that is looked for.
        log_loss: in nats.
        brier: score of all labels.
        errors: of the most probable label, and of the target.
        debiased: those without bias, with intervals.
    """

    target: str
    log_loss: _Ranged
    brier: _Ranged
    errors: tuple[CalibrationError, ...]
    debiased: tuple[_Ranged, ...]

    @classmethod
    def of(cls, said: Said) -> "Calibrated":
        """Count, and draw a thousand times."""
        truth_NK, said_NK = said.truth_NK, said.probabilities_NK
        bootstrap, judged = _Bootstrap(said.source_N), said.judged()
        errors = tuple(calibration_error(*one) for one in judged)
        # Intervals of the square, of which the error is the root.
        squares = [bootstrap.ends(partial(_drawn_square, *one)) for one in judged]
        return cls(
            said.target,
            bootstrap.ranged(
                lambda rows: log_loss(truth_NK[rows], said_NK[rows], exclusive=said.is_exclusive)
            ),
            bootstrap.ranged(lambda rows: brier_score(truth_NK[rows], said_NK[rows])),
            errors,
            tuple(
                _Ranged(error.debiased, *(float(np.sqrt(max(end, 0.0))) for end in ends))
                for error, ends in zip(errors, squares, strict=True)
            ),
        )

    def cells(self) -> list[str]:
        """Of a line of the table."""
        cells = [str(self.log_loss), str(self.brier)]
        for error, debiased in zip(self.errors, self.debiased, strict=True):
            cells += [
                f"{error.error:.3f}, perfect {error.bias:.3f}, at most {error.at_most:.3f}",
                str(debiased),
            ]
        return cells


def calibration_table(rows: Mapping[str, Calibrated]) -> list[str]:
    """Lines of the table, one for each rule on the same photographs."""
    target = next(iter(rows.values())).target
    return [
        "| rule | log-loss | Brier | ECE, most probable label | debiased | "
        f"ECE, {target} | debiased |",
        "|---|---|---|---|---|---|---|",
        *(f"| {name} | {' | '.join(one.cells())} |" for name, one in rows.items()),
    ]


def mended_text(before: Calibrated, after: Calibrated) -> list[str]:
    """Whether fitting mends the error of the most probable label, and that of the target."""
    lines = []
    whats = ("the most probable label", before.target)
    for what, was, became in zip(whats, before.debiased, after.debiased, strict=True):
        if was.value > LARGE_ERROR:
            halves = became.value <= was.value / 2
            verdict = "which halves it" if halves else "which does not halve it"
        else:
            verdict = f"where {LARGE_ERROR} or less leaves little to mend"
            if became.low > was.high:
                verdict += "; fitting makes it worse here"
            elif became.value > LARGE_ERROR:
                verdict += "; so few photographs cannot tell these apart"
        lines.append(f"Debiased error of {what}: {was} as it comes, {became} as fitted, {verdict}.")
    return lines


class _Bootstrap:
    """Intervals of figures; lesions are drawn, of which each may have several photographs."""

    def __init__(self, source_N: NDArray[np.integer[Any]]) -> None:
        order = np.argsort(source_N, kind="stable")
        self._rows_S = np.split(order, np.flatnonzero(np.diff(source_N[order])) + 1)
        self._all_N = np.arange(len(source_N))

    def ends(self, statistic: Callable[[NDArray[np.intp]], float]) -> tuple[float, float]:
        """Low and high end for a function of the rows of photographs."""
        return bootstrap_interval(
            lambda drawn: statistic(np.concatenate([self._rows_S[number] for number in drawn])),
            len(self._rows_S),
        )

    def ranged(self, statistic: Callable[[NDArray[np.intp]], float]) -> _Ranged:
        """The figure with its interval."""
        return _Ranged(statistic(self._all_N), *self.ends(statistic))


def _drawn_square(positive_N: Truth, probability_N: Probabilities, rows: NDArray[np.intp]) -> float:
    return debiased_square(positive_N[rows], probability_N[rows], drawn=2)
