"""Inference backends: each loads one node of a cascade and runs it on buffers it was given.

Vendor packages are imported only inside the module of the one backend that needs them.
"""

import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ckd.contract.bundle import Content
from ckd.contract.errors import BundleError, EnvironmentUnusable, UsageError
from ckd.contract.manifest import Manifest, NodeSpec
from ckd.contract.tensors import TensorSpec

#: On the CPU: backend -> (package that must be importable, how to install it from a clone of this
#: project); the first serves everywhere. On the public index the name `ckd` is another project's.
BACKENDS: Final = {
    "onnxruntime": ("onnxruntime", "pip install '.[cpu]'"),
    "openvino": ("openvino", "pip install '.[openvino]'"),
}

#: On a CUDA device, the first that is there. ONNX Runtime has a build of its own for it.
GPU_BACKENDS: Final = ("tensorrt", "onnxruntime")
#: Names of TensorRT's package; the last is what the wheels of TensorRT-RTX have.
TENSORRT_MODULES: Final = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
TENSORRT_REMEDY: Final = (
    "JetPack brings it, others get it from NVIDIA (`pip install tensorrt`), and for GeForce and "
    "RTX cards there is TensorRT-RTX: `pip install '.[tensorrt-rtx]'`"
)

#: Answers of one frame by tensor name.
Results = Mapping[str, NDArray[Any]]


class DeviceBuffer(Protocol):
    """Memory of one tensor where its engines run. Its address never changes."""

    spec: TensorSpec

    def write(self, array: NDArray[Any]) -> None:
        """Copy an array of exactly this shape and type in."""

    def read(self) -> NDArray[Any]:
        """The content as an array on the host, valid until the next run overwrites it."""

    def close(self) -> None:
        """Release the memory; calling it twice is fine."""


class Engine(Protocol):
    """One loaded sub-network.

    A protocol, not a base class: what backends share is this shape, not code.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        """Fix where inputs are read and outputs are written; called once."""

    def enqueue(self, stream: int = 0) -> None:
        """Start one run on a CUDA stream; allocates nothing. On a CPU it is finished on return."""

    def close(self) -> None:
        """Release the engine; calling it twice is fine."""


class Runner(Protocol):
    """Takes a frame through all engines of a cascade, in whatever order and overlap it sees fit."""

    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Results:
        """The answers to one image, [1, S, S, 3], by tensor name; valid until the next run.

        ``lap`` is told what has just ended: "preprocess" once the image is where the engines read
        it, then every node, or "networks" where they cannot be told apart.

        Raises:
            EngineError: an engine failed.
        """

    def close(self) -> None:
        """Release what is the runner's own; calling it twice is fine."""


class DeviceArray(Protocol):
    """An array in a GPU's memory, see `ckd.runtime.cuda.arrays.device_image`."""

    @property
    def shape(self) -> Sequence[int]:
        """[H, W, 3]."""


@runtime_checkable
class DeviceRunner(Runner, Protocol):
    """One on a GPU: it computes a frame while it copies others, and takes images from there."""

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Results]:
        """The answers to many images, [1, S, S, 3] each, in order.

        The next image is taken before answers are given; they are valid until the next ones are
        asked for. What is raised, by ``images`` or an engine, comes after the answers before it.
        """

    def run_device(self, image: object) -> Mapping[str, DeviceBuffer]:
        """The answers, on the device, to an image that is there already; valid until the next run.

        Raises:
            InputError: it is no device array, not uint8[H, W, 3], or on another device.
            EngineError: an engine failed.
        """

    def run_from_device(self, image: object) -> Results:
        """As `run_device`, with the answers on the host."""


class Backend(Protocol):
    """Makes engines and the buffers between them, all on one device.

    Attributes:
        precisions: that it can compute in, each with the precision of the files this takes.
    """

    name: str
    device: str
    precisions: Mapping[str, str]

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Engine:
        """Load a node; ``specs`` says what the manifest promises of each of its tensors.

        Raises:
            EngineError: the file is no network that this backend can run.
            BundleError: the file is missing, was changed, or is not what the manifest promises.
        """

    def allocate(self, spec: TensorSpec) -> DeviceBuffer:
        """A buffer for one tensor."""

    def runner(
        self,
        manifest: Manifest,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> Runner:
        """For engines that are bound to these buffers."""


def installed() -> tuple[str, ...]:
    """CPU backends whose package is importable here, in the order of `BACKENDS`."""
    return tuple(
        name for name, (package, _) in BACKENDS.items() if importlib.util.find_spec(package)
    )


def has_tensorrt() -> bool:
    """Whether a TensorRT of any name lies here; whether it works, its backend finds out."""
    return any(importlib.util.find_spec(name) for name in TENSORRT_MODULES)


def why_no_gpu() -> str | None:
    """What keeps this process from a CUDA device, with the remedy; None if nothing does."""
    from ckd.runtime.cuda.bindings import why_unusable

    return why_unusable()


def chosen_device(name: str, device: str) -> str:
    """What "auto" means here, "cpu" or "cuda"; other devices as they are.

    A GPU is taken without being asked for if TensorRT is there to run on it, and a device answers.

    Raises:
        UsageError: unknown backend or device, or a device that the backend is not for.
    """
    known = (*BACKENDS, *(gpu for gpu in GPU_BACKENDS if gpu not in BACKENDS))
    if name != "auto" and name not in known:
        raise UsageError(f"unknown backend {name!r}; expected auto, {', '.join(known)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}; expected auto, cpu, cuda or cuda:N")
    if device == "auto":
        if name == "tensorrt":
            return "cuda"
        wanted = name == "auto" and has_tensorrt() and why_no_gpu() is None
        return "cuda" if wanted else "cpu"
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
        name: "auto", or one of `BACKENDS` or `GPU_BACKENDS`; `ckd.runtime.choice` knows which is
            the fastest on the CPU.
        device: "auto" (see `chosen_device`), "cpu", "cuda" or "cuda:N".
        num_threads: of one engine's CPU work; None uses every core this process may run on.

    Raises:
        UsageError: unknown backend or device, or a device that the backend is not for.
        EnvironmentUnusable: not installed, or there is no GPU; says what to do.
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
        others = f" ({', '.join(installed())} is)" if installed() else ""
        raise EnvironmentUnusable(
            f"{chosen} is not installed{others}; in the folder of this project: "
            f"`{BACKENDS[chosen][1]}`"
        )
    if chosen == "openvino":
        from ckd.runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(num_threads)
    from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(num_threads)


def _open_gpu_backend(name: str, device: str) -> Backend:
    """What is not installed is said first: without it a device is of no use."""
    from ckd.runtime.backends.tensorrt_sdk import import_tensorrt
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
        from ckd.runtime.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(cuda)
    if not importlib.util.find_spec("onnxruntime"):
        raise EnvironmentUnusable(
            f"TensorRT-RTX is not made for {cuda.properties().name}, and ONNX Runtime is not "
            "installed; in the folder of this project: `pip install '.[cuda]'`"
        )
    from ckd.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

    return OnnxRuntimeCudaBackend(cuda)


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_promise(
    node: NodeSpec,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    specs: Mapping[str, TensorSpec],
) -> None:
    """`BundleError` unless a loaded file takes and gives what the manifest promises of its node."""
    promised = tuple(specs[n] for n in node.inputs), tuple(specs[n] for n in node.outputs)
    if (inputs, outputs) != promised:
        taken, given, to_take, to_give = (
            ", ".join(map(str, tensors)) for tensors in (inputs, outputs, *promised)
        )
        raise BundleError(
            f"{node.name}: the file takes {taken} and gives {given}; cascade.json says {to_take} "
            f"and {to_give}; export the bundle again"
        )


def first_line(error: Exception) -> str:
    """What a vendor's error says, without its stack of C++ places."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
