"""ONNX Runtime on the CPU, reading and writing shared buffers in place (IOBinding)."""

from collections.abc import Mapping
from typing import Any, Final, cast

import onnxruntime as ort

from ckd.contract.bundle import Content
from ckd.contract.errors import EngineError
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import DType, TensorSpec
from ckd.runtime.backends.host import HostBuffer, HostRunner
from ckd.runtime.cpu import usable_cores
from ckd.runtime.engine import DeviceBuffer, Engine, check_promise, first_line

_DTYPES: Final[Mapping[str, DType]] = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
}


class OnnxRuntimeBackend:
    """Engines on the CPU. A buffer's memory is one NumPy array that sessions share."""

    name = "onnxruntime"
    device = "cpu"
    # It takes half-precision files and computes in float32: a check of the file, no gain in speed.
    precisions: Mapping[str, str] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8.cpu"}

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads or usable_cores()

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "OnnxRuntimeEngine":
        """Load a node and check its inputs and outputs against the spec."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Each node has a pool of its own, and nodes run one after another: a pool may spin while
        # its node runs, but afterwards it would take the cores from the next one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Initialisers are copied into kernels' own layout; keeping both doubles the memory.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        content = onnx.read()
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"cannot load {node.name}: {first_line(error)}") from error
        return OnnxRuntimeEngine(node, session, specs)

    def allocate(self, spec: TensorSpec) -> "OnnxRuntimeBuffer":
        """Host memory, wrapped once for every session that uses it."""
        return OnnxRuntimeBuffer(spec)

    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> HostRunner:
        """One engine after another."""
        return HostRunner(spec, engines, buffers)


class OnnxRuntimeBuffer(HostBuffer):
    """A NumPy array and the OrtValue over the same memory."""

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__(spec)
        self.value = ort.OrtValue.ortvalue_from_numpy(self.array)


class OnnxRuntimeEngine:
    """One session bound to fixed buffers."""

    def __init__(
        self, node: NodeSpec, session: ort.InferenceSession, specs: Mapping[str, TensorSpec]
    ) -> None:
        self.name = node.name
        self.inputs = tuple(static_spec(value) for value in session.get_inputs())
        self.outputs = tuple(static_spec(value) for value in session.get_outputs())
        check_promise(node, self.inputs, self.outputs, specs)
        self._session: ort.InferenceSession | None = session
        self._binding = session.io_binding()
        self._run_options = ort.RunOptions()

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        """Point inputs and outputs at the buffers of their names."""
        for spec in self.inputs:
            self._binding.bind_ortvalue_input(spec.name, _value(buffers[spec.name]))
        for spec in self.outputs:
            self._binding.bind_ortvalue_output(spec.name, _value(buffers[spec.name]))

    def enqueue(self, stream: int = 0) -> None:
        """Run; results are in the bound buffers on return."""
        if self._session is None:
            raise EngineError(f"{self.name} is closed")
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:
            raise EngineError(f"{self.name} failed: {first_line(error)}") from error

    def close(self) -> None:
        """Free the session and its threads."""
        self._session = None
        self._binding = None


def _value(buffer: DeviceBuffer) -> ort.OrtValue:
    return cast(OnnxRuntimeBuffer, buffer).value


def static_spec(value: Any) -> TensorSpec:
    """What a session says of an input or output; `EngineError` if its shape is not fixed."""
    if value.type not in _DTYPES or not all(isinstance(size, int) for size in value.shape):
        raise EngineError(
            f"{value.name}: {value.type}{value.shape} is no static tensor of a known type"
        )
    return TensorSpec(value.name, tuple(value.shape), _DTYPES[value.type])
