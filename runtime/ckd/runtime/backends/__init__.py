"""Inference backends: each loads one node of a cascade and runs it on buffers it was given.

Vendor packages are imported only inside the module of the one backend that needs them.
"""

from ckd.runtime.backends.selection import (
    BACKENDS,
    GPU_BACKENDS,
    chosen_device,
    installed,
    open_backend,
)

__all__ = [
    "BACKENDS",
    "GPU_BACKENDS",
    "chosen_device",
    "installed",
    "open_backend",
]
