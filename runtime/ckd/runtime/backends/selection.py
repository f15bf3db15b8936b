"""Which backends this machine has; opens the one that is asked for."""

import importlib.util
import re
from typing import Final

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.runtime.backends.tensorrt.sdk import has_tensorrt
from ckd.runtime.cuda.presence import why_no_gpu
from ckd.runtime.engine import Backend

#: On the CPU: backend -> (package that must be importable, how to install it from a clone of this
#: project). The first one runs everywhere. On the public index, `ckd` is another project's name.
BACKENDS: Final = {
    "onnxruntime": ("onnxruntime", "pip install '.[cpu]'"),
    "openvino": ("openvino", "pip install '.[openvino]'"),
}

#: On a CUDA device; "auto" takes the first that is installed. ONNX Runtime has a separate build
#: for CUDA.
GPU_BACKENDS: Final = ("tensorrt", "onnxruntime")


def installed() -> tuple[str, ...]:
    """CPU backends whose package is importable here, in the order of `BACKENDS`."""
    return tuple(
        name for name, (package, _) in BACKENDS.items() if importlib.util.find_spec(package)
    )


def chosen_device(name: str, device: str) -> str:
    """Which device "auto" means here, "cpu" or "cuda"; other devices are given back unchanged.

    "auto" takes a GPU if TensorRT is installed and a device answers, or if TensorRT is asked for.

    Raises:
        UsageError: unknown backend or device, or a device that the backend does not support.
    """
    known = (*BACKENDS, *(gpu for gpu in GPU_BACKENDS if gpu not in BACKENDS))
    if name != "auto" and name not in known:
        raise UsageError(f"unknown backend {name!r}; expected auto, {', '.join(known)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}; expected auto, cpu, cuda or cuda:N")
    if device == "auto":
        if name == "tensorrt":
            return "cuda"
        takes_gpu = name == "auto" and has_tensorrt() and why_no_gpu() is None
        return "cuda" if takes_gpu else "cpu"
    if device == "cpu" and name == "tensorrt":
        raise UsageError("tensorrt runs on a GPU: --device cuda, or another backend for the CPU")
    if device != "cpu" and name not in ("auto", *GPU_BACKENDS):
        raise UsageError(
            f"{name} runs on the CPU here; for {device}: --backend {' or '.join(GPU_BACKENDS)}"
        )
    return device


def open_backend(name: str, device: str, num_threads: int | None) -> Backend:
    """The backend of that name, or the first one installed for "auto".

    Args:
        name: "auto", or one of `BACKENDS` or `GPU_BACKENDS`; `ckd.runtime.choice` measures which
            is the fastest on the CPU.
        device: "auto" (see `chosen_device`), "cpu", "cuda" or "cuda:N".
        num_threads: of one engine's CPU work; None uses every core this process may run on.

    Raises:
        UsageError: unknown backend or device, or a device that the backend does not support.
        EnvironmentUnusable: the backend is not installed, or there is no GPU; says what to do.
    """
    device = chosen_device(name, device)
    if device != "cpu":
        return _open_gpu_backend(name, device)
    chosen = next(iter(installed()), None) if name == "auto" else name
    if chosen is None:
        remedy = ", or ".join(f"`{command}`" for _, command in BACKENDS.values())
        raise EnvironmentUnusable(
            f"no inference backend is installed; in the folder of this project: {remedy}"
        )
    if chosen not in installed():
        alternatives = f" ({', '.join(installed())} is)" if installed() else ""
        raise EnvironmentUnusable(
            f"{chosen} is not installed{alternatives}; in the folder of this project: "
            f"`{BACKENDS[chosen][1]}`"
        )
    if chosen == "openvino":
        from ckd.runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(num_threads)
    from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(num_threads)


def _open_gpu_backend(name: str, device: str) -> Backend:
    """Open a backend on a CUDA device; a missing package is reported before a missing device."""
    from ckd.runtime.backends.tensorrt.sdk import import_tensorrt
    from ckd.runtime.cuda.bindings import open_cuda

    tensorrt = None
    if name == "tensorrt" or (name == "auto" and has_tensorrt()):
        tensorrt = import_tensorrt()
    elif not importlib.util.find_spec("onnxruntime"):
        raise EnvironmentUnusable(
            "neither TensorRT nor ONNX Runtime is installed for the GPU; in the folder of this "
            "project: `pip install '.[cuda]'`"
        )
    cuda = open_cuda(device)
    if tensorrt is not None and (name == "tensorrt" or tensorrt.is_made_for(cuda.properties())):
        from ckd.runtime.backends.tensorrt.backend import TensorRtBackend

        return TensorRtBackend(cuda)
    if not importlib.util.find_spec("onnxruntime"):
        raise EnvironmentUnusable(
            f"TensorRT-RTX is not made for {cuda.properties().name}, and ONNX Runtime is not "
            "installed; in the folder of this project: `pip install '.[cuda]'`"
        )
    from ckd.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

    return OnnxRuntimeCudaBackend(cuda)
