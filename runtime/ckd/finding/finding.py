"""What the cascade says of one image.

Suffixes: H rows, W columns of the image as given.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.labels import lesion_name
from ckd.finding.sentences import NO_LESION, NOTICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the cascade says of one image. The arrays are the finding's own and stay valid.

    Attributes:
        mask_HW: True on the lesion, in pixels of the image as given; None if the cascade has no
            such output.
        coarse_mask_HW: the coarse network's mask, likewise.
        probabilities: by label; empty if the cascade does not classify. Those of exclusive labels
            sum to 1; otherwise each is independent of the others.
        quality: figures that say how far to trust the rest: ``mask_agreement``, the Jaccard index
            of coarse and fine mask (two networks outlined the same lesion, so disagreement is a
            warning; absent if no lesion was outlined), and ``lesion_fraction`` of the image.
        timings_ms: wall time of "preprocess", each node, "postprocess" and "total"; reading a file
            is not included.
        bundle: name and first digits of the digest of the bundle that was used.
        backend: name of the backend that ran the networks.
        precision: the networks computed in it.
        exclusive: an image has exactly one label; otherwise it may have none.
        class_maps: by label, float32 at the network's resolution: what each place of the squashed
            photograph adds to the label's logit, so that the mean over places is the logit less a
            constant. Empty unless the bundle was exported with explanations; see
            `ckd.finding.explanation` for what they can and cannot show.
    """

    mask_HW: NDArray[np.bool_] | None
    coarse_mask_HW: NDArray[np.bool_] | None
    probabilities: Mapping[str, float]
    quality: Mapping[str, float]
    timings_ms: Mapping[str, float]
    bundle: str
    backend: str
    precision: str
    exclusive: bool = True
    class_maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def top(self) -> str | None:
        """The most probable label.

        None if the cascade does not classify, or if labels do not exclude each other and all have
        a probability of at most 0.5.
        """
        top = max(self.probabilities, key=self.probabilities.__getitem__, default=None)
        return top if self.exclusive or top is None or self.probabilities[top] > 0.5 else None

    @property
    def headline(self) -> str:
        """``top`` in words; "none of ..." if it is None, "" if the cascade does not classify."""
        if self.top is not None:
            return lesion_name(self.top)
        return f"none of {', '.join(self.probabilities)}" if self.probabilities else ""

    @property
    def lesion_area_px(self) -> int:
        """Lesion area in pixels of the image as given."""
        return 0 if self.mask_HW is None else int(np.count_nonzero(self.mask_HW))

    @property
    def warning(self) -> str | None:
        """`NO_LESION` if there is a mask and it is empty, otherwise None."""
        return NO_LESION if self.mask_HW is not None and not self.lesion_area_px else None

    def as_dict(self) -> dict[str, Any]:
        """All but the pixels of masks and maps, ready for JSON."""
        return {
            "size_hw": None if self.mask_HW is None else list(self.mask_HW.shape),
            "probabilities": {k: round(v, 6) for k, v in self.probabilities.items()},
            "top": self.top,
            "lesion_area_px": self.lesion_area_px,
            "quality": {k: round(v, 4) for k, v in self.quality.items()},
            "timings_ms": {k: round(v, 3) for k, v in self.timings_ms.items()},
            "bundle": self.bundle,
            "backend": self.backend,
            "precision": self.precision,
            "notice": f"{self.warning} {NOTICE}" if self.warning else NOTICE,
        }

    def to_json(self) -> str:
        """`as_dict` as one line of JSON."""
        return json.dumps(self.as_dict())
