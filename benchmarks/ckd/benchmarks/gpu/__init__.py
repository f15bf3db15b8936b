"""`ckd-bench gpu`: a cascade on a GPU against the ways a competent user would run it."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.benchmarks.gpu.cli import gpu_command
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.benchmarks.gpu.cli": "gpu_command",
        },
    )

__all__ = ["gpu_command"]
