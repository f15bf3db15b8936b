"""ONNX Runtime on a CUDA device, reading and writing shared device buffers in place.

All sessions put their work into one stream and none waits for it, so the order of the calls is the
order of the work. The host waits once per frame, in the runner.

ONNX Runtime works in the device's primary context, as torch and CuPy do. Streams and buffers of a
context that an application made itself (PyCUDA's ``make_context``) cannot be used there: use
PyCUDA's ``retain_primary_context``, or TensorRT.
"""

import contextlib
import importlib.util
import io
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import onnxruntime as ort
from typing_extensions import override

from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.backends.onnxruntime_session import SessionEngine, session_options
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine import Backend, DeviceBuffer, Engine, Runner, first_line

if TYPE_CHECKING:
    from ckd.runtime.cuda.memory import CudaBuffer

_PROVIDER: Final = "CUDAExecutionProvider"
#: If the libraries are missing, ONNX Runtime says so only in its log, and goes on with the CPU.
_REMEDY: Final = (
    "it needs the libraries of the CUDA that it was built for (13 for 1.30 and 1.31) and cuDNN 9: "
    "`pip install 'onnxruntime-gpu[cuda,cudnn]'`, with a driver that knows this CUDA; "
    "or use the CPU: --device cpu"
)

_log = logging.getLogger(__name__)


def _load_libraries() -> None:
    """Load CUDA and cuDNN from where pip installed them, which ONNX Runtime may not search."""
    if not hasattr(ort, "preload_dlls"):  # older releases find them by themselves or not at all
        return
    package = importlib.util.find_spec("nvidia")
    roots = package.submodule_search_locations if package is not None else None
    folders = [str(path) for root in roots or () for path in sorted(Path(root).glob("*/lib"))]
    for folder in folders:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what this folder lacks
            ort.preload_dlls(directory=folder)
    with contextlib.redirect_stdout(sys.stderr):  # it prints what no folder has
        ort.preload_dlls()


class OnnxRuntimeCudaBackend(Backend):
    """Engines on one CUDA device, all on one stream.

    Args:
        cuda: the device, in its primary context.

    Raises:
        EnvironmentUnusable: this ONNX Runtime was built without CUDA, or another context than the
            primary one is current.
    """

    name = "onnxruntime"
    # No INT8: the provider has no integer convolution. It would run the INT8 files as float
    # convolutions between quantise and dequantise kernels, slower than FP16 and no closer to INT8.
    precisions: Mapping[str, str] = {"fp32": "fp32", "fp16": "fp16"}

    def __init__(self, cuda: Cuda) -> None:
        if _PROVIDER not in ort.get_available_providers():
            raise EnvironmentUnusable(
                f"this ONNX Runtime ({ort.__version__}) was built without CUDA; the two builds "
                "share one folder, so: `pip uninstall onnxruntime onnxruntime-gpu`, then "
                "`pip install 'onnxruntime-gpu[cuda,cudnn]'`; or use the CPU: --device cpu"
            )
        if not cuda.is_primary:
            raise EnvironmentUnusable(
                "ONNX Runtime always works in a device's primary CUDA context, and another one is "
                "current here; use that (PyCUDA: Device.retain_primary_context) or TensorRT"
            )
        _load_libraries()
        self.cuda = cuda
        self.device = f"cuda:{cuda.index}"
        self._stream = _SharedStream(cuda)

    @override
    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "OnnxRuntimeCudaEngine":
        content = onnx.read()
        stream = self._stream.take()
        try:
            return OnnxRuntimeCudaEngine(
                node, self._session(node, content, stream), specs, self.cuda.index, self._stream
            )
        except BaseException:
            self._stream.give_back()
            raise

    @override
    def allocate(self, spec: TensorSpec) -> "CudaBuffer":
        from ckd.runtime.cuda.memory import CudaBuffer

        return CudaBuffer(spec, self.cuda)

    @override
    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> Runner:
        from ckd.runtime.cuda.runner import CudaRunner

        return CudaRunner(self.cuda, spec, engines, buffers, one_stream=self._stream.handle)

    def _session(self, node: NodeSpec, content: bytes, stream: int) -> ort.InferenceSession:
        options = session_options()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings = {
            "device_id": str(self.cuda.index),
            "user_compute_stream": str(stream),
            "use_tf32": "0",  # TensorFloat-32 would keep 10 bits of a factor's 23
            # Each session has an arena of its own, and by default it doubles when it grows.
            "arena_extend_strategy": "kSameAsRequested",
            # "enable_cuda_graph" stays off. A session captures by itself, in an early run, into the
            # stream that all share; if a kernel cannot be captured, the stream is left capturing:
            # all other sessions then fail, and closing the session ends the process (github.com/
            # microsoft/onnxruntime/pull/32081). Older releases also wait for the stream at each
            # replay, whatever was asked for (pull/28686).
        }
        try:
            # With its fallback, ONNX Runtime would print a failure to stdout and take the CPU.
            session = ort.InferenceSession(
                content, options, providers=[(_PROVIDER, settings)], enable_fallback=0
            )
        except Exception as error:
            raise EngineError(f"cannot load {node.name} on {self.device}: {_why(error)}") from error
        if session.get_providers()[0] != _PROVIDER:
            raise EngineError(
                f"{node.name}: ONNX Runtime cannot use {self.device} and fell back to the CPU; "
                f"{_REMEDY}"
            )
        _warn_of_cpu_nodes(node.name, session)
        return session


class OnnxRuntimeCudaEngine(SessionEngine):
    """One session bound to device buffers, on a stream that it shares with other sessions."""

    def __init__(
        self,
        node: NodeSpec,
        session: ort.InferenceSession,
        specs: Mapping[str, TensorSpec],
        device_index: int,
        stream: "_SharedStream",
    ) -> None:
        super().__init__(node, session, specs, _why)
        self._device_index, self._stream = device_index, stream
        self._buffers: tuple[DeviceBuffer, ...] = ()  # must outlive the session that writes them
        # Work goes into the stream and the call returns: the runner waits, once per frame.
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    @override
    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        self._buffers = tuple(buffers[spec.name] for spec in (*self.inputs, *self.outputs))
        for spec in self.inputs:
            self._bind_to(self._binding.bind_input, spec, buffers[spec.name])
        for spec in self.outputs:
            self._bind_to(self._binding.bind_output, spec, buffers[spec.name])

    @override
    def enqueue(self, stream: int = 0) -> None:
        if self._session is not None and stream != self._stream.handle:
            raise EngineError(
                f"{self.name}: its session works on stream {self._stream.handle:#x} only, got "
                f"{stream:#x}; run it by its backend's runner"
            )
        super().enqueue(stream)

    @override
    def close(self) -> None:
        if self._session is None:
            return
        super().close()
        self._buffers = ()
        self._stream.give_back()

    def _bind_to(self, bind: Callable[..., Any], spec: TensorSpec, buffer: DeviceBuffer) -> None:
        element, address = np.dtype(spec.dtype).type, cast("CudaBuffer", buffer).address
        bind(spec.name, "cuda", self._device_index, element, list(spec.shape), address)


class _SharedStream:
    """A stream that exists as long as a session uses it; ``handle`` is 0 while none does."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._num_users = cuda, 0
        self.handle = 0

    def take(self) -> int:
        """Count one more user; gives the stream, which is made for the first."""
        if self._num_users == 0:
            self.handle = self._cuda.create_stream()
        self._num_users += 1
        return self.handle

    def give_back(self) -> None:
        """Count one user less; the stream is destroyed after the last."""
        self._num_users -= 1
        if self._num_users == 0:
            handle, self.handle = self.handle, 0
            self._cuda.destroy_stream(handle)


def _warn_of_cpu_nodes(name: str, session: ort.InferenceSession) -> None:
    """Warn of operators without a CUDA kernel: the CPU runs them, with copies and a wait each."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # older releases do not tell
        return
    stray = [
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != _PROVIDER
        for node in part.get_nodes()
    ]
    if stray:
        _log.warning(
            "%s: %d operators have no CUDA kernel in ONNX Runtime %s and run on the CPU (%s)",
            name, len(stray), ort.__version__, ", ".join(sorted(set(stray))),
        )  # fmt: skip


def _why(error: Exception) -> str:
    """What ONNX Runtime says, and what to do where the device's memory was too small."""
    said = first_line(error)
    if any(sign in str(error) for sign in ("Failed to allocate memory", "out of memory")):
        said += "; GPU memory is exhausted: close other programs that use it, or use --device cpu"
    return said
