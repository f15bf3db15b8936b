"""ONNX Runtime on a CUDA device, reading and writing shared device buffers in place (IOBinding).

All sessions put their work into one stream and none waits for it, so the order of the calls is the
order of the work, and the host waits once a frame, in the runner.

ONNX Runtime works in the device's primary context, as torch and CuPy do. Streams and buffers of a
context that an application made beside it (PyCUDA's ``make_context``) are unknown there: use
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

from ckd.contract.bundle import Content
from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.backends.onnxruntime import static_spec
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine import DeviceBuffer, Engine, Runner, check_promise, first_line

if TYPE_CHECKING:
    from ckd.runtime.cuda.memory import CudaBuffer

_PROVIDER: Final = "CUDAExecutionProvider"
#: ONNX Runtime says so only in its log, and goes on with the CPU.
_REMEDY: Final = (
    "it needs the libraries of the CUDA that it was built for (13 for 1.30 and 1.31) and cuDNN 9: "
    "`pip install 'onnxruntime-gpu[cuda,cudnn]'`, with a driver that knows this CUDA; "
    "or use the CPU: --device cpu"
)

_log = logging.getLogger(__name__)


def _load_libraries() -> None:
    """Load CUDA and cuDNN as pip installed them, which may be elsewhere than ONNX Runtime."""
    if not hasattr(ort, "preload_dlls"):  # older ones find them by themselves or not at all
        return
    found = importlib.util.find_spec("nvidia")
    roots = found.submodule_search_locations if found is not None else None
    folders = [str(path) for root in roots or () for path in sorted(Path(root).glob("*/lib"))]
    for folder in folders:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what is in another folder
            ort.preload_dlls(directory=folder)
    with contextlib.redirect_stdout(sys.stderr):  # it prints what is nowhere
        ort.preload_dlls()


class OnnxRuntimeCudaBackend:
    """Engines on one CUDA device.

    Args:
        cuda: the device, in its primary context.

    Raises:
        EnvironmentUnusable: this ONNX Runtime was built without CUDA.
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

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "OnnxRuntimeCudaEngine":
        """Load a node and check its inputs and outputs against the spec."""
        content = onnx.read()
        stream = self._stream.take()
        try:
            return OnnxRuntimeCudaEngine(
                node, self._session(node, content, stream), specs, self._index, self._stream
            )
        except BaseException:
            self._stream.give_back()
            raise

    def allocate(self, spec: TensorSpec) -> "CudaBuffer":
        """Device memory."""
        from ckd.runtime.cuda.memory import CudaBuffer

        return CudaBuffer(spec, self.cuda)

    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> Runner:
        """Everything on the stream that the sessions were made with."""
        from ckd.runtime.cuda.runner import CudaRunner

        return CudaRunner(self.cuda, spec, engines, buffers, one_stream=self._stream.handle)

    @property
    def _index(self) -> int:
        return int(self.device.partition(":")[2])

    def _session(self, node: NodeSpec, content: bytes, stream: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Weights are kept as they are loaded; an arena would round them up.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings = {
            "device_id": str(self._index),
            "user_compute_stream": str(stream),
            "use_tf32": "0",  # FP32 is FP32: TensorFloat-32 keeps 10 bits of 23
            # Each session has an arena of its own, and by default it doubles when it grows.
            "arena_extend_strategy": "kSameAsRequested",
            # "enable_cuda_graph" stays off. A session captures by itself, in an early run, into the
            # stream that all share; if a kernel cannot be captured, the stream is left capturing,
            # which no other session survives, and closing the session ends the process (github.com/
            # microsoft/onnxruntime/pull/32081). Older releases also wait for the stream at each
            # replay, whatever was asked for (pull/28686).
        }
        try:
            # Else a failure is printed to stdout and the CPU taken.
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


class OnnxRuntimeCudaEngine:
    """One session bound to fixed device buffers, on a stream that it shares with others."""

    def __init__(
        self,
        node: NodeSpec,
        session: ort.InferenceSession,
        specs: Mapping[str, TensorSpec],
        device_index: int,
        stream: "_SharedStream",
    ) -> None:
        self.name = node.name
        self.inputs = tuple(static_spec(value) for value in session.get_inputs())
        self.outputs = tuple(static_spec(value) for value in session.get_outputs())
        check_promise(node, self.inputs, self.outputs, specs)
        self._session: ort.InferenceSession | None = session
        self._binding = session.io_binding()
        self._device_index, self._stream = device_index, stream
        self._buffers: tuple[DeviceBuffer, ...] = ()  # must outlive the session that writes them
        self._run_options = ort.RunOptions()
        # Work goes into the stream and the call returns: the runner waits, once a frame.
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        """Point inputs and outputs at the device buffers of their names."""
        self._buffers = tuple(buffers[spec.name] for spec in (*self.inputs, *self.outputs))
        for spec in self.inputs:
            self._bind_to(self._binding.bind_input, spec, buffers[spec.name])
        for spec in self.outputs:
            self._bind_to(self._binding.bind_output, spec, buffers[spec.name])

    def enqueue(self, stream: int = 0) -> None:
        """Put one run into ``stream``, which must be the one that the session was made with."""
        if self._session is None:
            raise EngineError(f"{self.name} is closed")
        if stream != self._stream.handle:
            raise EngineError(
                f"{self.name}: its session works on stream {self._stream.handle:#x} only, got "
                f"{stream:#x}; run it by its backend's runner"
            )
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:
            raise EngineError(f"{self.name} failed: {_why(error)}") from error

    def close(self) -> None:
        """Free the session; the last one takes the stream along."""
        if self._session is None:
            return
        self._session = None
        self._binding = None
        self._buffers = ()
        self._stream.give_back()

    def _bind_to(self, bind: Callable[..., Any], spec: TensorSpec, buffer: DeviceBuffer) -> None:
        element, address = np.dtype(spec.dtype).type, cast("CudaBuffer", buffer).address
        bind(spec.name, "cuda", self._device_index, element, list(spec.shape), address)


class _SharedStream:
    """A stream that exists as long as a session uses it. ``handle`` is 0 without one."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._num_users = cuda, 0
        self.handle = 0

    def take(self) -> int:
        """One user more."""
        if self._num_users == 0:
            self.handle = self._cuda.create_stream()
        self._num_users += 1
        return self.handle

    def give_back(self) -> None:
        """One user less."""
        self._num_users -= 1
        if self._num_users == 0:
            handle, self.handle = self.handle, 0
            self._cuda.destroy_stream(handle)


def _warn_of_cpu_nodes(name: str, session: ort.InferenceSession) -> None:
    """Operators without a CUDA kernel are run on the CPU, with copies and a wait around each."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # newer ones tell
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
