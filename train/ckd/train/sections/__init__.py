"""Sections of a bundle, fitted on photographs that networks were not trained on."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.sections.fit import SECTIONS, fit_sections
    from ckd.train.sections.mask import boundary_distance
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.sections.fit": "SECTIONS fit_sections",
            "ckd.train.sections.mask": "boundary_distance",
        },
    )

__all__ = ["SECTIONS", "boundary_distance", "fit_sections"]
