"""Whether a picture holds something to judge: an answer, or no finding and its reason.

A classifier gives probabilities for anything, also for a lens cap. What is judged here:

``blank``      the picture itself: black, white, of one colour, or the noise of a dark sensor
``no_skin``    the masks are not those of a photograph of skin
``no_lesion``  the masks are not those of a photograph of a lesion

The first is a fixed rule on contrast and light. The other two are linear scores of the masks'
figures (`ckd.finding.signs`), fitted on photographs and on pictures of other things and kept in
the section "outcome" of a bundle; a bundle without it judges ``blank`` only.

Suffix: S side of the square network input in pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.content import Declaring, SectionContent
from ckd.finding.sentences import sentence, shown
from ckd.finding.signs import sign_names

SECTION: Final = "outcome"
#: Codes whose rule is fitted, in the order in which they are asked.
FITTED_CODES: Final = ("no_skin", "no_lesion")
#: Grey levels of 255. A picture that varies less on a grid of 16 x 16 means, once smooth uneven
#: light is taken off, is of one colour; one of which all but a hundredth stays below the other is
#: dark. Of 900 training photographs of ISIC 2017 the least varied has 4.4, and the darkest 104.
_LEAST_CONTRAST: Final = 1.5
_DARK: Final = 40.0
_GRID: Final = 16
#: Nor is a picture blank with a spot that differs so much from the light around it, however small.
_LEAST_SPOT: Final = 8.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no finding.

    Attributes:
        code: "blank", "no_skin", "no_lesion", or "cannot_judge" for a frame of a camera that was
            taken so badly that nothing is said of it.
        hint: with the last, how: one of `ckd.finding.capture.HINTS`.
    """

    code: str
    hint: str = ""

    @property
    def text(self) -> str:
        """The sentence in English, for JSON."""
        return sentence(self.code, why=sentence(f"why_{self.hint}") if self.hint else "")

    @property
    def shown(self) -> str:
        """The sentence in the language of who looks at it."""
        return shown(self.code, why=shown(f"why_{self.hint}") if self.hint else "")


@dataclass(frozen=True, slots=True)
class LinearScore:
    """A score of the masks' figures: the sum of weight times figure.

    Attributes:
        weights: by name of the figure.
        at_least: score of a picture that keeps its answer.
    """

    weights: Mapping[str, float]
    at_least: float

    def of(self, signs: Mapping[str, float]) -> float:
        """The score of a picture."""
        return sum(weight * signs[name] for name, weight in self.weights.items())


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """The fitted part of the judgement, by code; empty for a bundle without the section."""

    scores: Mapping[str, LinearScore]

    @classmethod
    def of(cls, spec: Declaring) -> "OutcomeRule":
        """The rule of a bundle.

        Raises:
            BundleError: its section is malformed, or reads figures that the cascade does not have.
        """
        content, known = SectionContent.of(spec, SECTION, FITTED_CODES), sign_names(spec.outputs)
        if content is None:
            return cls({})
        scores = {}
        for code in FITTED_CODES:
            rule = content.part(code)
            rule.expect(("weights", "at_least"))
            weights = rule.part("weights")
            names = weights.keys()
            if foreign := set(names) - set(known):
                raise content.wrong(
                    f"{min(foreign)!r} is no figure of this cascade's masks; it has "
                    f"{', '.join(known) or 'none'}"
                )
            numbers = {name: weights.number(name) for name in names}
            scores[code] = LinearScore(numbers, rule.number("at_least"))
        return cls(scores)

    def reason(self, signs: Mapping[str, float], *, is_outlined: bool) -> Reason | None:
        """Why the masks show no lesion; None if they do, or without a fitted rule.

        Args:
            signs: figures of the masks, by name.
            is_outlined: the fine mask has a pixel, after clean-up.
        """
        for code, score in self.scores.items():
            if not score.of(signs) >= score.at_least:
                return Reason(code)
        return None if is_outlined or not self.scores else Reason("no_lesion")

    def as_content(self) -> dict[str, Any]:
        """The section's content that `of` reads."""
        return {
            code: {"weights": dict(score.weights), "at_least": score.at_least}
            for code, score in self.scores.items()
        }


def is_blank(image_SS3: NDArray[np.uint8]) -> bool:
    """Whether there is nothing in a picture: black, white, one colour, a dark sensor's noise.

    Args:
        image_SS3: uint8 RGB at network size.
    """
    return is_dark(image_SS3) or is_even(image_SS3)


def is_dark(image_SS3: NDArray[np.uint8]) -> bool:
    """Whether a picture is all but black, with or without something in it.

    Args:
        image_SS3: uint8 RGB at network size.
    """
    _, means = _grey(image_SS3)
    return int(np.count_nonzero(means >= _DARK)) < 0.01 * means.size


def is_even(image_SS3: NDArray[np.uint8]) -> bool:
    """Whether a picture has nothing in it, but light that changes smoothly, and noise.

    Args:
        image_SS3: uint8 RGB at network size.
    """
    grey, means = _grey(image_SS3)
    light, to_light = _smooth_light(_GRID)
    amounts = to_light @ means
    if float(np.std(means - light @ amounts)) >= _LEAST_CONTRAST:
        return False
    fine_light, _ = _smooth_light(len(grey))
    # The mean takes noise off; at the border it is one of other places.
    spots = cv2.blur(grey, (5, 5)) - (fine_light @ amounts).reshape(grey.shape)
    return float(np.abs(spots[2:-2, 2:-2]).max()) < _LEAST_SPOT


def _grey(image_SS3: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grey levels, and their means on the grid, one after another."""
    grey = cv2.cvtColor(image_SS3, cv2.COLOR_RGB2GRAY).astype(np.float32)
    means = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA).ravel()
    return grey, np.asarray(means, np.float32)


@cache
def _smooth_light(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quadratic functions of the place, a column each, and what gives a picture's share of each."""
    place = (np.arange(side) + 0.5) / side
    y, x = np.meshgrid(place, place, indexing="ij")
    terms = [np.ones_like(x), x, y, x * x, y * y, x * y]
    columns = np.stack(terms, axis=-1).reshape(-1, len(terms))
    shares = np.linalg.pinv(columns) if side == _GRID else np.empty((0, 0))
    return np.asarray(columns, np.float32), np.asarray(shares, np.float32)
