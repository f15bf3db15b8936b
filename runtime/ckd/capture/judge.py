"""Judges a capture: measures its scores, and says what is wrong with it.

Suffixes: H rows, W columns of the photograph; S side of what the networks saw; C channels in RGB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.capture.framing import contours_of, field_of, framing_of, hull_of, ring_of
from ckd.capture.hair import hair_cover
from ckd.capture.light import light_of
from ckd.capture.limits import CHECKS, hints_of, limits_of
from ckd.capture.sharpness import sharpness_of
from ckd.contract.errors import UsageError
from ckd.finding.capture import HINTS, Capture
from ckd.finding.content import Declaring
from ckd.finding.finding import Finding
from ckd.finding.outcome import is_dark, is_even
from ckd.finding.outline import mask_on_grid

#: What `ckd.finding.outcome` says of a picture with nothing to judge.
_NOTHING: Final = ("blank", "no_skin")
#: Grey level from which on an empty picture is white.
_WHITE: Final = 230
#: Places on the outline, and within it, that are looked at for sharpness.
_ON_OUTLINE: Final = 6
_WITHIN: Final = np.array([[-0.2, -0.2], [0.2, 0.2]])
#: Where there is no lesion: the middle of the picture.
_MIDDLE: Final = 0.5 + 0.2 * np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)])


class CaptureJudge:
    """Judges captures by limits.

    Args:
        limits: by name of the score, one for each of `CHECKS`.
        mm_per_px: width of a photograph's pixel on the skin; None if it is not known.
    """

    def __init__(self, limits: Mapping[str, float], mm_per_px: float | None = None) -> None:
        self.limits, self.mm_per_px = dict(limits), mm_per_px

    @classmethod
    def of(cls, spec: Declaring) -> "CaptureJudge | None":
        """The judge of a bundle; None if it has no section "capture".

        Raises:
            BundleError: the section is malformed.
        """
        limits = limits_of(spec)
        return None if limits is None else cls(limits)

    def for_unit(self, limits: Mapping[str, float], mm_per_px: float | None) -> "CaptureJudge":
        """The judge for a camera unit, whose file sets some limits in place of the bundle's.

        Its scale is used if it sets those of focus and motion, which then were fitted with it.

        Raises:
            UsageError: a limit of no check.
        """
        if unknown := [name for name in limits if name not in CHECKS]:
            raise UsageError(f"[coach]: no check {unknown[0]!r}; expected {', '.join(CHECKS)}")
        # The bundle's limits were fitted without a scale; with one other structure is fine.
        has_own = {"focus", "motion"} <= set(limits)
        return CaptureJudge({**self.limits, **limits}, mm_per_px if has_own else None)

    def judged(self, image_HWC: NDArray[np.uint8], finding: Finding) -> Finding:
        """The finding, with the judgement of its capture.

        What the outcome said already (a lens cap, no skin) is not measured again.
        """
        reason = "" if finding.reason is None else finding.reason.code
        if reason in _NOTHING:
            hint = "no_skin" if reason == "no_skin" else _hint_of_blank(finding.seen_SS3)
            return replace(finding, capture=Capture((hint,)))
        scores = capture_scores(image_HWC, finding.seen_SS3, finding.lesion_mask_HW, self.mm_per_px)
        found = hints_of(scores, self.limits)
        if reason == "no_lesion":
            found -= {"motion"}  # without an outline the tiles lie anywhere, on a ruler or a chart
        return replace(finding, capture=Capture(tuple(h for h in HINTS if h in found), scores))


def capture_scores(
    image_HWC: NDArray[np.uint8],
    seen_SSC: NDArray[np.uint8] | None,
    mask_HW: NDArray[np.bool_] | None,
    mm_per_px: float | None = None,
) -> dict[str, float]:
    """The scores of a photograph by name; without a lesion, none of where it lies.

    Args:
        image_HWC: uint8 RGB.
        seen_SSC: the same at network size, uint8 RGB.
        mask_HW: True on the lesion; None or empty without one.
        mm_per_px: width of the photograph's pixel on the skin; None if it is not known.
    """
    assert seen_SSC is not None
    side = seen_SSC.shape[0]
    nothing_SS = np.zeros((side, side), np.bool_)
    lesion_SS = nothing_SS if mask_HW is None else mask_on_grid(mask_HW, side)
    field_SS, ring_SS, contours = field_of(seen_SSC), ring_of(lesion_SS), contours_of(lesion_SS)
    sharpness = sharpness_of(image_HWC, _places(contours, side), mm_per_px)
    light = light_of(seen_SSC, field_SS, hull_of(contours, side), ring_SS)
    scores = {
        "focus": sharpness.focus, "motion": sharpness.motion, "bright": light.bright,
        "light": light.light, "glare": light.glare,
    }  # fmt: skip
    scores |= _framing(lesion_SS, field_SS)
    scores["cover"] = hair_cover(seen_SSC, ring_SS, side)
    return scores


def framing_scores(seen_SSC: NDArray[np.uint8], mask_HW: NDArray[np.bool_]) -> dict[str, float]:
    """The scores of where a lesion lies, as `capture_scores` gives them; none without a lesion."""
    return _framing(mask_on_grid(mask_HW, seen_SSC.shape[0]), field_of(seen_SSC))


def _framing(lesion_SS: NDArray[np.bool_], field_SS: NDArray[np.bool_]) -> dict[str, float]:
    if not lesion_SS.any():
        return {}
    framing = framing_of(lesion_SS, field_SS)
    return {"cut_off": framing.cut_off, "width": framing.width, "off_centre": framing.off_centre}


def _hint_of_blank(seen_SSC: NDArray[np.uint8] | None) -> str:
    """What to do where there is nothing in the picture."""
    assert seen_SSC is not None
    if not is_even(seen_SSC):
        return "under_exposed"  # there is something, in the dark
    if is_dark(seen_SSC):
        return "lens_cap"
    return "over_exposed" if np.median(seen_SSC) >= _WHITE else "no_skin"


def _places(contours: Sequence[NDArray[np.int32]], side: int) -> NDArray[np.float64]:
    """Where to look for sharpness, in shares of the sides: along the outline, and within it."""
    if not contours:
        return _MIDDLE
    outline = max(contours, key=cv2.contourArea)[:, 0]
    steps = np.linspace(0, len(outline), _ON_OUTLINE, endpoint=False).astype(int)
    low, high = outline.min(axis=0), outline.max(axis=0)
    within = (low + high) / 2 + _WITHIN * (high - low)
    return np.asarray((np.concatenate([outline[steps], within]) + 0.5) / side)
