"""One answer of the frames of a camera: pooled over the good frames of one lesion."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.settling.settler import Settler
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.settling.settler": "Settler",
        },
    )

__all__ = ["Settler"]
