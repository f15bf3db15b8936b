"""Inference backends: each loads the nodes of a cascade and runs them on buffers of its device.

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
