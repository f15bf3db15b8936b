"""What all command lines share; nothing else imports typer or rich."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.console.commands import app, ends_when_stopped, group, make_folder, run
    from ckd.console.options import (
        MOST_THREADS,
        BackendName,
        BundlePath,
        DeviceName,
        Json,
        MinFree,
        NoNames,
        OperatingPointName,
        PrecisionName,
        Prevalence,
        Threads,
        bytes_of,
        finite,
        fold_of,
        prevalence_of,
    )
    from ckd.console.progress import (
        Bars,
        Progress,
        hide_names,
        is_first_process,
        no_bars,
        progress_bar,
        say,
        show,
    )
    from ckd.console.tables import print_table, text_table
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.console.commands": "app ends_when_stopped group make_folder run",
            "ckd.console.options": (
                "BackendName BundlePath DeviceName Json MOST_THREADS MinFree NoNames "
                "OperatingPointName PrecisionName Prevalence Threads bytes_of finite fold_of "
                "prevalence_of"
            ),
            "ckd.console.progress": (
                "Bars Progress hide_names is_first_process no_bars progress_bar say show"
            ),
            "ckd.console.tables": "print_table text_table",
        },
    )

__all__ = [
    "MOST_THREADS",
    "BackendName",
    "Bars",
    "BundlePath",
    "DeviceName",
    "Json",
    "MinFree",
    "NoNames",
    "OperatingPointName",
    "PrecisionName",
    "Prevalence",
    "Progress",
    "Threads",
    "app",
    "bytes_of",
    "ends_when_stopped",
    "finite",
    "fold_of",
    "group",
    "hide_names",
    "is_first_process",
    "make_folder",
    "no_bars",
    "prevalence_of",
    "print_table",
    "progress_bar",
    "run",
    "say",
    "show",
    "text_table",
]
