"""Training: the plan of a run, its folder, and one stage after the other."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.fitting.alone import alone_in
    from ckd.train.fitting.crossvalidate import fold_figures, summary_text
    from ckd.train.fitting.fit import planned
    from ckd.train.fitting.identity import describe, digest
    from ckd.train.fitting.machine import Accelerator, device_for
    from ckd.train.fitting.module import StageModule
    from ckd.train.fitting.options import FitOptions
    from ckd.train.fitting.prepare import Training, seed_quietly
    from ckd.train.fitting.run_folder import RunFolder, digests_of, load_data, load_run, recipe_of
    from ckd.train.fitting.stage_data import class_counts, for_stage, read_data
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.fitting.alone": "alone_in",
            "ckd.train.fitting.crossvalidate": "fold_figures summary_text",
            "ckd.train.fitting.fit": "planned",
            "ckd.train.fitting.identity": "describe digest",
            "ckd.train.fitting.machine": "Accelerator device_for",
            "ckd.train.fitting.module": "StageModule",
            "ckd.train.fitting.options": "FitOptions",
            "ckd.train.fitting.prepare": "Training seed_quietly",
            "ckd.train.fitting.run_folder": "RunFolder digests_of load_data load_run recipe_of",
            "ckd.train.fitting.stage_data": "class_counts for_stage read_data",
        },
    )

__all__ = [
    "Accelerator",
    "FitOptions",
    "RunFolder",
    "StageModule",
    "Training",
    "alone_in",
    "class_counts",
    "describe",
    "device_for",
    "digest",
    "digests_of",
    "fold_figures",
    "for_stage",
    "load_data",
    "load_run",
    "planned",
    "read_data",
    "recipe_of",
    "seed_quietly",
    "summary_text",
]
