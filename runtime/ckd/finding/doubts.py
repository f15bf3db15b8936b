"""Signs that the networks' answer is not to be relied on, whatever it says: section "refer".

``masks_disagree``   the outlines of the coarse and of the fine network overlap less than those of
                     all but one of 100 photographs held out
``unlike_training``  the classifier's features lie further from those of its training photographs
                     than those of all but one of 100 held out (`ckd.finding.feature_space`)

A bundle may have one of the two only: a cascade without a coarse network cannot judge the first,
one whose classifier does not give its features not the second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.finding.content import Declaring, SectionContent
from ckd.finding.feature_space import FeatureSpace

SECTION: Final = "refer"
#: The file of a bundle that holds its `FeatureSpace`.
FEATURE_FILE: Final = "training_features.npz"


@dataclass(frozen=True, slots=True)
class Doubts:
    """The thresholds of a bundle; None where it does not judge by it.

    Attributes:
        masks_agree: smallest agreement of both masks (`Finding.quality`) that is no doubt.
        unlike_above: largest distance from the training photographs that is no doubt.
        space: in which that distance is measured.
    """

    masks_agree: float | None = None
    unlike_above: float | None = None
    space: FeatureSpace | None = None

    @classmethod
    def of(cls, spec: Declaring, read: Callable[[str], bytes]) -> "Doubts":
        """The doubts of a bundle; none if it has no such section.

        Args:
            spec: of the bundle.
            read: gives the content of a file of the bundle.

        Raises:
            BundleError: the section or its file is malformed, or judges by what the cascade does
                not give.
        """
        content = SectionContent.of(spec, SECTION, ("masks_agree", "unlike_above"))
        if content is None:
            return cls()
        agree = above = space = None
        if not content.is_null("masks_agree"):
            if spec.outputs.mask_logits is None or spec.outputs.coarse_logits is None:
                raise content.wrong("masks_agree needs a coarse and a fine mask")
            agree = content.number("masks_agree", 0, 1)
        if not content.is_null("unlike_above"):
            if spec.outputs.features is None:
                raise content.wrong("unlike_above needs a cascade that gives features")
            above = content.number("unlike_above", 0)
            width = spec.shapes[spec.outputs.features][1]
            space = FeatureSpace.unpacked(read(FEATURE_FILE), width)
        return cls(agree, above, space)

    def as_content(self) -> dict[str, Any]:
        """The section's content that `of` reads."""
        return {"masks_agree": self.masks_agree, "unlike_above": self.unlike_above}

    def found(
        self, quality: Mapping[str, float], features_D: NDArray[np.float32] | None
    ) -> tuple[str, ...]:
        """Codes of the doubts about a photograph.

        Args:
            quality: of its finding; without an outlined lesion masks cannot disagree.
            features_D: of the classifier.
        """
        codes = []
        if self.masks_agree is not None and quality.get("mask_agreement", 1.0) < self.masks_agree:
            codes.append("masks_disagree")
        if self.space is not None and self.unlike_above is not None and features_D is not None:
            distance = self.space.distance(features_D)
            if not distance <= self.unlike_above:
                codes.append("unlike_training")
        return tuple(codes)
