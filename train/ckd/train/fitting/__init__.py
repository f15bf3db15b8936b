"""Training: the plan of a run, its folder, and one stage after the other."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.fitting.crossvalidate import summary_text
    from ckd.train.fitting.fit import planned
    from ckd.train.fitting.identity import describe
    from ckd.train.fitting.machine import device_for
    from ckd.train.fitting.options import FitOptions
    from ckd.train.fitting.prepare import Training
    from ckd.train.fitting.run_folder import RunFolder, load_data, load_run, recipe_of
    from ckd.train.fitting.stage_data import read_data
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.fitting.crossvalidate": "summary_text",
            "ckd.train.fitting.fit": "planned",
            "ckd.train.fitting.identity": "describe",
            "ckd.train.fitting.machine": "device_for",
            "ckd.train.fitting.options": "FitOptions",
            "ckd.train.fitting.prepare": "Training",
            "ckd.train.fitting.run_folder": "RunFolder load_data load_run recipe_of",
            "ckd.train.fitting.stage_data": "read_data",
        },
    )

__all__ = [
    "FitOptions",
    "RunFolder",
    "Training",
    "describe",
    "device_for",
    "load_data",
    "load_run",
    "planned",
    "read_data",
    "recipe_of",
    "summary_text",
]
