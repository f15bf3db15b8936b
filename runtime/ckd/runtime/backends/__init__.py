"""Inference backends: each loads the nodes of a cascade and runs them on buffers of its device.

Vendor packages are imported only inside the module of the one backend that needs them.
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend, why_no_int8
    from ckd.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
    from ckd.runtime.backends.selection import (
        BACKENDS,
        GPU_BACKENDS,
        chosen_device,
        installed,
        open_backend,
    )
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.backends.onnxruntime": "OnnxRuntimeBackend why_no_int8",
            "ckd.runtime.backends.onnxruntime_cuda": "OnnxRuntimeCudaBackend",
            "ckd.runtime.backends.selection": (
                "BACKENDS GPU_BACKENDS chosen_device installed open_backend"
            ),
        },
    )

__all__ = [
    "BACKENDS",
    "GPU_BACKENDS",
    "OnnxRuntimeBackend",
    "OnnxRuntimeCudaBackend",
    "chosen_device",
    "installed",
    "open_backend",
    "why_no_int8",
]
