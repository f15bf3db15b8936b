"""A CUDA device: memory, streams, graphs, and the engines of a cascade on it.

Everything here calls CUDA through one small protocol, `ckd.runtime.cuda.api.Cuda`. The real device
is `ckd.runtime.cuda.bindings`; the tests have a device that records calls and needs no GPU.
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.cuda.api import Cuda, DeviceProperties
    from ckd.runtime.cuda.bindings import open_cuda
    from ckd.runtime.cuda.memory import CudaBuffer
    from ckd.runtime.cuda.presence import why_no_gpu
    from ckd.runtime.cuda.runner import CudaRunner
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.cuda.api": "Cuda DeviceProperties",
            "ckd.runtime.cuda.bindings": "open_cuda",
            "ckd.runtime.cuda.memory": "CudaBuffer",
            "ckd.runtime.cuda.presence": "why_no_gpu",
            "ckd.runtime.cuda.runner": "CudaRunner",
        },
    )

__all__ = ["Cuda", "CudaBuffer", "CudaRunner", "DeviceProperties", "open_cuda", "why_no_gpu"]
