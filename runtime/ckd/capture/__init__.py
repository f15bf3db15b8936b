"""How well a picture was taken: focus, motion, light, glare, framing, what covers the lesion."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.capture.hair import COVERS, cover_of, hair_cover
    from ckd.capture.judge import CaptureJudge, capture_scores, framing_scores
    from ckd.capture.limits import CHECKS, MOST_LIMIT, Check, hints_of, limit_at
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.capture.hair": "COVERS cover_of hair_cover",
            "ckd.capture.judge": "CaptureJudge capture_scores framing_scores",
            "ckd.capture.limits": "CHECKS Check MOST_LIMIT hints_of limit_at",
        },
    )

__all__ = [
    "CHECKS",
    "COVERS",
    "MOST_LIMIT",
    "CaptureJudge",
    "Check",
    "capture_scores",
    "cover_of",
    "framing_scores",
    "hair_cover",
    "hints_of",
    "limit_at",
]
