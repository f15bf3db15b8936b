"""Studies: candidate recipes compared on the same folds, in pieces that may be interrupted."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.study.hours import plan_text, planned_pieces
    from ckd.train.study.report import report, table_text
    from ckd.train.study.run import Settings, run_study
    from ckd.train.study.setting import load_study
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.study.hours": "plan_text planned_pieces",
            "ckd.train.study.report": "report table_text",
            "ckd.train.study.run": "Settings run_study",
            "ckd.train.study.setting": "load_study",
        },
    )

__all__ = [
    "Settings",
    "load_study",
    "plan_text",
    "planned_pieces",
    "report",
    "run_study",
    "table_text",
]
