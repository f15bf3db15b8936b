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
#: So many parts are removed one by one; more are looked up, pixel by pixel.
_FEW: Final = 32


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
        cleaned_HW = np.zeros_like(mask_HW)
        part = mask_HW[box].astype(np.uint8)
        least_px = self.least_fraction * mask_HW.size
        if self.fills_holes:
            part = self._filled(part, least_px)
        elif self.least_share or self.least_fraction:
            part = self._without_small_parts(part, least_px)
        cleaned_HW[box] = part
        return cleaned_HW

    def _filled(self, mask: NDArray[np.uint8], least_px: float) -> NDArray[np.uint8]:
        """The parts that stay, without holes: all by their outlines, which is several times faster.

        A part of which the outline is known has, by Pick's theorem, as many pixels as the area
        within the centres of its outermost pixels, half their number, and one.
        """
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        areas_P = np.array(
            [cv2.contourArea(one) + (len(one) if len(one) > 1 else 0) / 2 + 1 for one in outlines]
        )
        filled = np.zeros_like(mask)
        if not len(areas_P):
            return filled
        kept_P = areas_P >= max(self.least_share * areas_P.max(), least_px)
        if self.least_share == 1:  # of two equal ones the first, row after row
            tops = {int(p): tuple(np.asarray(outlines[p])[0, 0, ::-1]) for p in kept_P.nonzero()[0]}
            kept_P &= np.arange(len(areas_P)) == min(tops, key=tops.__getitem__, default=-1)
        stay = [outline for outline, stays in zip(outlines, kept_P, strict=True) if stays]
        cv2.drawContours(filled, stay, -1, 1, cv2.FILLED)
        return filled

    def _without_small_parts(self, mask: NDArray[np.uint8], least_px: float) -> NDArray[np.uint8]:
        _, parts_HW, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        areas_P = figures[:, cv2.CC_STAT_AREA].astype(np.float64)
        areas_P[0] = 0  # the background
        kept_P = (areas_P >= max(self.least_share * areas_P.max(), least_px)) & (areas_P > 0)
        if self.least_share == 1:  # of two equal ones the first
            kept_P &= np.arange(len(areas_P)) == areas_P.argmax()
        removed = np.flatnonzero(~kept_P)[1:]
        if len(removed) > _FEW:
            return np.asarray(kept_P[parts_HW], np.uint8)
        for number in removed:  # each lies in a small part of the mask
            left, top, width, height = figures[number, : cv2.CC_STAT_AREA]
            place = slice(top, top + height), slice(left, left + width)
            mask[place][parts_HW[place] == number] = 0
        return mask
