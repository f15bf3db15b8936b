"""TensorRT: engines built on this machine, in processes of their own, and kept."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.backends.tensorrt.backend import TensorRtBackend
    from ckd.runtime.backends.tensorrt.kept import Kept, KeptEngines
    from ckd.runtime.backends.tensorrt.sdk import TensorRt, has_tensorrt, import_tensorrt
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.backends.tensorrt.backend": "TensorRtBackend",
            "ckd.runtime.backends.tensorrt.kept": "Kept KeptEngines",
            "ckd.runtime.backends.tensorrt.sdk": "TensorRt has_tensorrt import_tensorrt",
        },
    )

__all__ = ["Kept", "KeptEngines", "TensorRt", "TensorRtBackend", "has_tensorrt", "import_tensorrt"]
