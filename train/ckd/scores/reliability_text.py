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
    Probabilities,
    Truth,
    brier_score,
    calibration_error,
    expected_calibration_error,
    log_loss,
    top_label,
)

#: Probabilities that are further off than this are to be mended by half.
LARGE_ERROR: Final = 0.04

#: What the columns are.
CALIBRATION_WORDS: Final = (
    "Intervals are 95 % of the bootstrap over lesions; those of the expected calibration error "
    "(ECE), which every drawing makes larger, are moved back by what it adds. ECE has 15 bins of "
    "equal mass and is never 0; behind it stands what perfect probabilities of so many photographs "
    "would show in the mean, so that less is chance. The debiased error is the root mean square "
    "over the same bins, less what chance adds."
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


def calibration_table(rows: Mapping[str, Said]) -> list[str]:
    """Lines of the table, one for each of these probabilities of the same photographs."""
    target = next(iter(rows.values())).target
    return [
        "| rule | log-loss | Brier | ECE, most probable label | debiased | "
        f"ECE, {target} | debiased |",
        "|---|---|---|---|---|---|---|",
        *(f"| {name} | {' | '.join(_cells(said))} |" for name, said in rows.items()),
    ]


def mended_text(before: Said, after: Said) -> list[str]:
    """Whether fitting mends the error of the most probable label, and that of the target."""
    lines = []
    whats = ("the most probable label", before.target)
    for what, one, other in zip(whats, before.judged(), after.judged(), strict=True):
        was, became = (calibration_error(*judged).debiased for judged in (one, other))
        if was > LARGE_ERROR:
            verdict = "which halves it" if became <= was / 2 else "which does not halve it"
        else:
            verdict = f"where {LARGE_ERROR} or less leaves little to mend"
            if became > LARGE_ERROR:
                verdict += "; on these photographs fitting makes it worse"
        lines.append(
            f"Debiased error of {what}: {was:.3f} as it comes, {became:.3f} as fitted, {verdict}."
        )
    return lines


def _cells(said: Said) -> list[str]:
    truth_NK, said_NK = said.truth_NK, said.probabilities_NK
    interval = _Bootstrap(said.source_N)
    cells = [
        interval(lambda rows: log_loss(truth_NK[rows], said_NK[rows], exclusive=said.is_exclusive)),
        interval(lambda rows: brier_score(truth_NK[rows], said_NK[rows])),
    ]
    for positive_N, probability_N in said.judged():
        error = calibration_error(positive_N, probability_N)
        ece = partial(_ece, positive_N, probability_N)
        shown = interval(ece, about=error.error)
        cells += [f"{shown}, perfect {error.bias:.3f}", f"{error.debiased:.3f}"]
    return cells


class _Bootstrap:
    """Figures with intervals; lesions are drawn, of which each may have several photographs."""

    def __init__(self, source_N: NDArray[np.integer[Any]]) -> None:
        order = np.argsort(source_N, kind="stable")
        self._rows_S = np.split(order, np.flatnonzero(np.diff(source_N[order])) + 1)
        self._all_N = np.arange(len(source_N))

    def __call__(
        self, statistic: Callable[[NDArray[np.intp]], float], about: float | None = None
    ) -> str:
        low, high = bootstrap_interval(
            lambda drawn: statistic(np.concatenate([self._rows_S[number] for number in drawn])),
            len(self._rows_S),
            about=about,
        )
        return f"{statistic(self._all_N):.3f} ({max(low, 0.0):.3f} to {high:.3f})"


def _ece(positive_N: Truth, probability_N: Probabilities, rows: NDArray[np.intp]) -> float:
    return expected_calibration_error(positive_N[rows], probability_N[rows])
