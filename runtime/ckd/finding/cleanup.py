"""Islands and holes of a mask are removed, as a bundle says, before anything is measured or drawn.

Suffixes: H rows, W columns of the photograph.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import BundleError
from ckd.contract.spec import CascadeSpec

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
    def of(cls, spec: CascadeSpec) -> "MaskRule":
        """The rule of a bundle: that of its section "mask", or none.

        Raises:
            BundleError: the section is malformed.
        """
        if SECTION not in spec.sections:
            return cls()
        try:
            rule = cls(**spec.sections[SECTION].content)
            shares = (float(rule.least_share), float(rule.least_fraction))
        except (TypeError, ValueError) as error:
            raise BundleError(f"cascade.json: section mask: malformed ({error})") from error
        if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares):
            raise BundleError(f"cascade.json: section mask: {shares} are no shares")
        if not isinstance(rule.fills_holes, bool):
            raise BundleError(
                f"cascade.json: section mask: fills_holes is {rule.fills_holes!r}, expected true "
                "or false"
            )
        return rule

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
        mask = mask_HW.astype(np.uint8)
        if self.fills_holes:
            outer, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(mask, outer, -1, 1, cv2.FILLED)
        if self.least_share or self.least_fraction:
            _, parts_HW, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            areas_P = figures[:, cv2.CC_STAT_AREA].astype(np.float64)
            areas_P[0] = 0  # the background
            least = max(self.least_share * areas_P.max(), self.least_fraction * mask.size)
            kept_P = (areas_P >= least) & (areas_P > 0)
            if self.least_share == 1:  # of two equal ones the first
                kept_P &= np.arange(len(areas_P)) == areas_P.argmax()
            mask = kept_P[parts_HW]
        return np.asarray(mask, np.bool_)
