"""Sections of a bundle, fitted on photographs that networks were not trained on."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.sections.capture import fit_capture
    from ckd.train.sections.decision_report import held_range
    from ckd.train.sections.fit import SECTIONS, fit_sections
    from ckd.train.sections.refer import DOUBTED
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.sections.capture": "fit_capture",
            "ckd.train.sections.decision_report": "held_range",
            "ckd.train.sections.fit": "SECTIONS fit_sections",
            "ckd.train.sections.refer": "DOUBTED",
        },
    )

__all__ = ["DOUBTED", "SECTIONS", "fit_capture", "fit_sections", "held_range"]
