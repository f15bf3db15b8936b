"""Where results go: files for people, one CSV and JSON lines for programs."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.sinks.files import ResultFolder
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.sinks.files": "ResultFolder",
        },
    )

__all__ = ["ResultFolder"]
