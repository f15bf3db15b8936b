"""Islands and holes of a mask are removed, as a bundle says, before anything is measured or drawn.

Suffixes: H rows, W columns of the photograph.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import BundleError
from ckd.finding.content import Declaring

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
        if SECTION not in spec.sections:
            return cls()
        content = spec.sections[SECTION].content
        known = [field.name for field in fields(cls)]
        if sorted(content) != sorted(known):
            raise _wrong(f"it holds {', '.join(content) or 'nothing'}, expected {', '.join(known)}")
        for name in ("least_share", "least_fraction"):
            share = content[name]
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise _wrong(f"{name} is {str(share)[:40]!r}, expected a number from 0 to 1")
        if not isinstance(content["fills_holes"], bool):
            raise _wrong(f"fills_holes is {content['fills_holes']!r}, expected true or false")
        return cls(**content)

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


def _wrong(what: str) -> BundleError:
    return BundleError(
        f"cascade.json: section mask: {what}; `ckd-export sections` writes one that fits"
    )
