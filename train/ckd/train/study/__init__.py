"""Studies: candidate recipes compared on the same folds, in pieces that may be interrupted."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.study.folder import Conditions
    from ckd.train.study.hours import plan_text, planned_pieces
    from ckd.train.study.run import run_study
    from ckd.train.study.setting import load_study
    from ckd.train.study.table import report, table_text
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.study.folder": "Conditions",
            "ckd.train.study.hours": "plan_text planned_pieces",
            "ckd.train.study.run": "run_study",
            "ckd.train.study.setting": "load_study",
            "ckd.train.study.table": "report table_text",
        },
    )

__all__ = [
    "Conditions",
    "load_study",
    "plan_text",
    "planned_pieces",
    "report",
    "run_study",
    "table_text",
]
