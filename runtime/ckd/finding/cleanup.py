"""Islands and holes of a mask are removed, as a bundle says, before anything is measured or drawn.

Suffixes: H rows, W columns of the photograph; P parts of a mask, and the background before them.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.content import Declaring, SectionContent
from ckd.finding.outline import box_of

SECTION: Final = "mask"


@dataclass(frozen=True, slots=True)
class MaskRule:
    """What is done to a mask; by default nothing.

    Attributes:
        least_share: parts smaller than this share of the largest one are removed; 1 keeps the
            largest only, and 0 all.
        fills_holes: holes become lesion.
        least_fraction: parts smaller than this fraction of the photograph are removed.
    """

    least_share: float = 0.0
    fills_holes: bool = False
    least_fraction: float = 0.0

    @classmethod
    def of(cls, spec: Declaring) -> "MaskRule":
        """The rule of a bundle: that of its section "mask", or none.

        Raises:
            BundleError: the section is malformed.
        """
        content = SectionContent.of(spec, SECTION, [field.name for field in fields(cls)])
        if content is None:
            return cls()
        return cls(
            least_share=content.number("least_share", 0, 1),
            fills_holes=content.flag("fills_holes"),
            least_fraction=content.number("least_fraction", 0, 1),
        )

    def as_content(self) -> dict[str, Any]:
        """The section's content that `of` reads."""
        return asdict(self)

    def apply(self, mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask that is measured and drawn; the given one itself where the rule is empty.

        Args:
            mask_HW: at the photograph's own size.
        """
        if self == MaskRule():
            return mask_HW
        box = box_of(mask_HW)
        cleaned_HW = mask_HW.copy()
        part = mask_HW[box].astype(np.uint8)
        if self.fills_holes:
            outer, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(part, outer, -1, 1, cv2.FILLED)
        if self.least_share or self.least_fraction:
            part = self._without_small_parts(part, self.least_fraction * mask_HW.size)
        cleaned_HW[box] = part
        return cleaned_HW

    def _without_small_parts(self, mask: NDArray[np.uint8], least_px: float) -> NDArray[np.uint8]:
        _, parts_HW, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        areas_P = figures[:, cv2.CC_STAT_AREA].astype(np.float64)
        areas_P[0] = 0  # the background
        kept_P = (areas_P >= max(self.least_share * areas_P.max(), least_px)) & (areas_P > 0)
        if self.least_share == 1:  # of two equal ones the first
            kept_P &= np.arange(len(areas_P)) == areas_P.argmax()
        if kept_P[1:].all():
            return mask
        return np.asarray(kept_P[parts_HW], np.uint8)
