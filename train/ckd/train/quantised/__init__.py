"""Quantisation-aware training: a finished run learns to answer as its INT8 files will."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.quantised.qat import train_quantised
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.quantised.qat": "train_quantised",
        },
    )

__all__ = ["train_quantised"]
