"""The checks of a capture, and the limits of their scores: section "capture" of a bundle.

Limits are fitted on generated scenes and photographs whose faults are known (`ckd-train capture`);
a unit file may set its own, which `ckd-run unit coach` fits to a maker's captures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ckd.finding.content import Declaring, SectionContent

SECTION: Final = "capture"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a capture.

    Attributes:
        hint: what is said of a picture that fails it, from `ckd.finding.capture.HINTS`.
        is_least: pictures below the limit fail; otherwise those above it.
        meaning: of the score, for tables.
        set_at: its limit, where that is not fitted to captures. Where a lesion may lie is no matter
            of statistics: a third of a width on the border, a tenth of the picture, half way out.
            Nor may it be learnt from captures of mostly light skin how little light is too little:
            the darkest reflects a tenth of it and is a third as bright in sRGB.
    """

    hint: str
    is_least: bool
    meaning: str
    set_at: float | None = None

    def fails(self, score: float, limit: float) -> bool:
        """Whether a score is beyond a limit."""
        return score < limit if self.is_least else score > limit


#: By name of the score.
CHECKS: Final[Mapping[str, Check]] = {
    "focus": Check("out_of_focus", True, "fine structure over coarse, natural logarithm"),
    "motion": Check("motion", False, "the same, best direction less the worst"),
    "bright": Check("over_exposed", False, "share of lesion and ring that is clipped"),
    "light": Check("under_exposed", True, "brightness that a twentieth of the field reaches", 0.3),
    "glare": Check("glare", False, "share of the lesion's convex hull that glares"),
    "cut_off": Check("cut_off", False, "border of the field that it reaches, in widths", 0.5),
    "width": Check("too_small", True, "width of the lesion, as a share of the picture", 0.1),
    "off_centre": Check("off_centre", False, "distance from the middle, in half sides", 0.5),
    "cover": Check("occluded", False, "share of lesion and ring under hair or ruler"),
}
#: No limit is larger, or smaller than its negative.
MOST_LIMIT: Final = 100.0


def limit_at(check: Check, scores: Sequence[float], false_rejects: float) -> float:
    """The limit that so large a share of the scores of clean pictures lies beyond."""
    return float(np.quantile(scores, false_rejects if check.is_least else 1 - false_rejects))


def limits_of(spec: Declaring) -> dict[str, float] | None:
    """The limits of a bundle by name of the score; None if it does not judge captures.

    Raises:
        BundleError: the section is malformed.
    """
    content = SectionContent.of(spec, SECTION, CHECKS)
    if content is None:
        return None
    return {name: content.number(name, -MOST_LIMIT, MOST_LIMIT) for name in CHECKS}


def hints_of(scores: Mapping[str, float], limits: Mapping[str, float]) -> set[str]:
    """Hints of the scores that are beyond their limits.

    What is out of focus or covered tells nothing of motion: what is fine is hidden along every
    direction, or runs along one.
    """
    found = {
        check.hint
        for name, check in CHECKS.items()
        if name in scores and check.fails(scores[name], limits[name])
    }
    return found - {"motion"} if found & {"out_of_focus", "occluded"} else found
