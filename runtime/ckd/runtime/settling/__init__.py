"""One answer of the frames of a camera: pooled over the good frames of one lesion."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.settling.settler import HOLD_S, Settler, unjudged
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.settling.settler": "HOLD_S Settler unjudged",
        },
    )

__all__ = ["HOLD_S", "Settler", "unjudged"]
