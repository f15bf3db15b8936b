"""The colour matrix of a camera, of a photograph of a 24-patch chart.

Suffixes: H rows, W columns, C channels in RGB order; N the 24 patches.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.runtime.unit.colour import Matrix, matrix_of
from ckd.runtime.unit.lab import delta_e_2000, lab_of_light
from ckd.runtime.unit.patches import LAB_N3, LIGHT_N3, NAMES, Patches, placements

#: What a matrix may leave on a chart; on squares of other colours it leaves 15 and more.
_MOST_LEFT: Final = 6.0
_MOST_FULL: Final = 4
_ROUNDS: Final = 12


@dataclass(frozen=True, slots=True)
class Residual:
    """CIEDE2000 between patches and chart: about 1 is seen side by side.

    Attributes:
        mean: of all patches.
        largest: of the patch that is farthest off.
        patch: its name.
    """

    mean: float
    largest: float
    patch: str

    @classmethod
    def of(cls, light_N3: NDArray[np.float64]) -> "Residual":
        """Of light as a screen shows it."""
        away_N = delta_e_2000(lab_of_light(np.clip(light_N3, 0, 1)), LAB_N3)
        worst = int(away_N.argmax())
        return cls(float(away_N.mean()), float(away_N[worst]), NAMES[worst])

    @property
    def shown(self) -> str:
        """For people."""
        return f"mean {self.mean:.1f}, largest {self.largest:.1f} ({self.patch})"


@dataclass(frozen=True, slots=True)
class ColourFit:
    """A matrix, and how far the chart is off without and with it.

    Attributes:
        matrix: for `ColourMatrix`.
        before: as the camera gives it.
        after: with the matrix.
        notes: what is remarkable about the photograph.
        patches: where the chart lies in the photograph, and what was measured there.
    """

    matrix: Matrix
    before: Residual
    after: Residual
    notes: tuple[str, ...]
    patches: Patches

    @property
    def summary(self) -> str:
        """One line for the person who took the photograph."""
        return (
            f"chart of 24 patches, colour error (CIEDE2000) before: {self.before.shown}; "
            f"with the matrix: {self.after.shown}"
        )

    @property
    def toml(self) -> str:
        """The lines of a unit file."""
        return f"[colour]\nmatrix = {matrix_toml(self.matrix)}\n"


def matrix_toml(matrix: Matrix) -> str:
    """A matrix as TOML."""
    rows = (", ".join(f"{value:.5f}" for value in row) for row in matrix)
    return "[\n" + "".join(f"    [{row}],\n" for row in rows) + "]"


def fit_colour(image_HWC: NDArray[np.uint8], where: str) -> ColourFit:
    """Find the chart in a photograph, uint8 RGB, and the matrix that leaves least.

    Args:
        image_HWC: the photograph, as the camera gives it: without a matrix.
        where: its name, for messages.

    Raises:
        InputError: there is no chart in it, or it is over-exposed.
    """
    found = [(patches, *_fitted(patches)) for patches in placements(image_HWC, where)]
    if not found:
        raise InputError(f"{where}: no colour chart found; photograph the whole chart")
    patches, matrix_CC, after = min(found, key=lambda one: one[2].mean)
    if (num_full := int(patches.is_full_N.sum())) > _MOST_FULL:
        raise InputError(
            f"{where}: over-exposed: {num_full} of 24 patches are at the sensor's limit, expected "
            f"at most {_MOST_FULL}; shorten the exposure"
        )
    if after.mean > _MOST_LEFT:
        raise InputError(
            f"{where}: no colour chart found: squares in a grid, but their colours are off by "
            f"{after.mean:.0f} (CIEDE2000) with the best matrix, expected under {_MOST_LEFT:g}; "
            "light the chart evenly, without glare"
        )
    notes = []
    if num_full:
        what = "1 patch is" if num_full == 1 else f"{num_full} patches are"
        notes.append(f"{what} at the sensor's limit and left out")
    if patches.is_mirrored:
        notes.append("the chart is mirrored: mirror or flip in [picture] puts that right")
    matrix = matrix_of([float(f"{value:.5f}") for value in row] for row in matrix_CC)
    return ColourFit(matrix, Residual.of(patches.light_N3), after, tuple(notes), patches)


def _fitted(patches: Patches) -> tuple[NDArray[np.float64], Residual]:
    """The matrix of the least squared error in L*a*b* (Gauss-Newton, damped), and what it leaves.

    It begins with that of the least error in light, which would care for bright patches alone.
    """
    used_N = ~patches.is_full_N
    light_N3, wanted_N3 = patches.light_N3[used_N], lab_of_light(LIGHT_N3[used_N])
    solved = np.linalg.lstsq(light_N3, LIGHT_N3[used_N], rcond=None)[0]
    matrix_CC = np.asarray(solved.T, np.float64)
    damping = 1e-3

    def away(matrix_CC: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((lab_of_light(light_N3 @ matrix_CC.T) - wanted_N3).ravel())

    left = away(matrix_CC)
    for _ in range(_ROUNDS):
        slopes = np.empty((left.size, 9))
        for index in range(9):
            moved = matrix_CC.copy()
            moved.flat[index] += 1e-5
            slopes[:, index] = (away(moved) - left) / 1e-5
        square = slopes.T @ slopes
        damped = square + damping * np.diag(np.diag(square)) + 1e-12 * np.eye(9)
        step = np.linalg.solve(damped, -slopes.T @ left)
        tried = matrix_CC + step.reshape(3, 3)
        if np.square(moved_left := away(tried)).sum() < np.square(left).sum():
            matrix_CC, left, damping = tried, moved_left, damping / 10
        else:
            damping *= 10
    return matrix_CC, Residual.of(patches.light_N3 @ matrix_CC.T)
