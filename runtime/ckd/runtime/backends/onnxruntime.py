"""ONNX Runtime on the CPU, reading and writing shared buffers in place."""

import re
from collections.abc import Mapping
from typing import Final, cast

import onnxruntime as ort
from typing_extensions import override

from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.backends.host import HostBuffer, HostRunner
from ckd.runtime.backends.onnxruntime_session import SessionEngine, session_options
from ckd.runtime.cpu import usable_cores
from ckd.runtime.engine import Backend, DeviceBuffer, Engine, first_line

#: Major and minor. Before it INT8 convolutions were wrong on some x86 processors (AMX, AVX-VNNI).
RIGHT_INT8: Final = (1, 26)


def why_no_int8() -> str | None:
    """Why this ONNX Runtime computes no INT8 on the CPU, with the remedy; None if it does."""
    if tuple(int(part) for part in re.findall(r"\d+", ort.__version__)[:2]) >= RIGHT_INT8:
        return None
    return (
        f"ONNX Runtime {ort.__version__} computes INT8 wrongly on some processors; expected "
        f"{'.'.join(map(str, RIGHT_INT8))} or newer, which needs Python 3.11; or take OpenVINO: "
        "`pip install '.[openvino]'`, then --backend openvino"
    )


class OnnxRuntimeBackend(Backend):
    """Engines on the CPU. A buffer's memory is one NumPy array that sessions share."""

    name = "onnxruntime"
    device = "cpu"
    # It takes half-precision files and computes in float32: a check of the file, no gain in speed.
    precisions: Mapping[str, str] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8.cpu"}

    def __init__(self, num_threads: int | None = None, *, fused: bool = True) -> None:
        """Prepare.

        Args:
            num_threads: of each engine; all cores if None.
            fused: False to compute node after node as the file says, which is slow. Convolutions
                between quantised tensors are then float32, whose sums are rounded in the last
                digits, while those of fused ones saturate on some processors.
        """
        self.num_threads = num_threads or usable_cores()
        self._fused = fused

    @override
    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "OnnxRuntimeEngine":
        if self.precisions[precision].startswith("int8") and (why := why_no_int8()):
            raise EnvironmentUnusable(why)
        options = session_options()
        options.intra_op_num_threads = self.num_threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # Each node has a thread pool of its own, and nodes run one after another: a pool may spin
        # while its node runs, but afterwards it would take the cores from the next one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if not self._fused:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        content = onnx.read()
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"cannot load {node.name}: {first_line(error)}") from error
        return OnnxRuntimeEngine(node, session, specs)

    @override
    def allocate(self, spec: TensorSpec) -> "OnnxRuntimeBuffer":
        return OnnxRuntimeBuffer(spec)

    @override
    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> HostRunner:
        return HostRunner(spec, engines, buffers)


class OnnxRuntimeBuffer(HostBuffer):
    """A NumPy array and the OrtValue over the same memory, made once for all sessions."""

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__(spec)
        self.value = ort.OrtValue.ortvalue_from_numpy(self.array)


class OnnxRuntimeEngine(SessionEngine):
    """One session bound to arrays in host memory."""

    @override
    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        for spec in self.inputs:
            self._binding.bind_ortvalue_input(spec.name, _value(buffers[spec.name]))
        for spec in self.outputs:
            self._binding.bind_ortvalue_output(spec.name, _value(buffers[spec.name]))


def _value(buffer: DeviceBuffer) -> ort.OrtValue:
    return cast(OnnxRuntimeBuffer, buffer).value
