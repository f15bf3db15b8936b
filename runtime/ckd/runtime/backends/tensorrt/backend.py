"""TensorRT on an NVIDIA GPU: engines built here for this GPU, enqueued on a CUDA stream.

Works with `tensorrt` 10.3 and later and with `tensorrt_rtx`, see `sdk` beside this.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from typing_extensions import override

from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.backends.tensorrt.kept import Kept, KeptEngines, Machine
from ckd.runtime.backends.tensorrt.sdk import TensorRt, import_tensorrt, memory_ran_out, worst_line
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.presence import why_no_gpu
from ckd.runtime.engine import BuiltEngine, DeviceBuffer, Engine, EngineBuilder, check_promise

if TYPE_CHECKING:
    from ckd.runtime.cuda.memory import CudaBuffer
    from ckd.runtime.cuda.runner import CudaRunner

_log = logging.getLogger(__name__)


class TensorRtBackend(EngineBuilder):
    """Engines on one GPU, in the precision of their files.

    Attributes:
        machine: what the engines depend on; `ckd.runtime.proving` has them repeat the bundle's
            acceptance cases for each.
        tensorrt: the TensorRT that is installed.
        log: its latest warnings and errors.

    Args:
        cuda: the device; its context must be current whenever engines are loaded or run.

    Raises:
        EnvironmentUnusable: there is no TensorRT or no driver.
    """

    name = "tensorrt"
    precisions: Mapping[str, str] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}

    def __init__(self, cuda: Cuda) -> None:
        self.tensorrt = import_tensorrt()
        # Without a driver TensorRT's runtime ends the process, even when the object is deleted.
        if (why := why_no_gpu()) is not None:
            raise EnvironmentUnusable(f"TensorRT needs a GPU: {why}")
        self._cuda = cuda
        self.device = f"cuda:{cuda.index}"
        self._kept = KeptEngines(self.tensorrt, cuda)
        self.machine: Machine = self._kept.machine
        self.log = self.tensorrt.log()
        try:
            self._runtime = self.tensorrt.trt.Runtime(self.log)
        except Exception as error:  # its message does not say why; the log does
            raise EnvironmentUnusable(
                f"{self.tensorrt.name} cannot start: {worst_line(self.log.lines)}"
            ) from error

    @override
    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "TensorRtEngine":
        """Take the engine of a node from the cache, or build it, and check it against the spec.

        An engine that TensorRT refuses (foreign, or of another version) is built again, once.
        """
        kept = self._kept.fetch(node, onnx, specs, precision)
        engine = self._deserialize(node, kept)
        if engine is None and kept.seconds is None:
            _log.warning(
                "the kept engine of %s cannot be loaded (%s); building it again",
                node.name,
                worst_line(self.log.lines),
            )
            self._kept.drop(node, onnx, specs, precision)
            kept = self._kept.fetch(node, onnx, specs, precision)
            engine = self._deserialize(node, kept)
        if engine is None:
            raise self.refusal(node)
        return TensorRtEngine(node, self, engine, specs, kept)

    @override
    def allocate(self, spec: TensorSpec) -> "CudaBuffer":
        from ckd.runtime.cuda.memory import CudaBuffer

        return CudaBuffer(spec, self._cuda)

    @override
    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> "CudaRunner":
        from ckd.runtime.cuda.runner import CudaRunner

        return CudaRunner(self._cuda, spec, engines, buffers)

    def _deserialize(self, node: NodeSpec, kept: Kept) -> Any:
        """TensorRT's engine; None if TensorRT refuses the file."""
        self.log.clear()
        engine = self._runtime.deserialize_cuda_engine(kept.content)
        if engine is None and memory_ran_out(worst_line(self.log.lines)):
            raise self.refusal(node)
        return engine

    def refusal(self, node: NodeSpec) -> EngineError:
        """What to raise when TensorRT has just refused to load an engine."""
        why = worst_line(self.log.lines)
        if memory_ran_out(why):
            return EngineError(
                f"cannot load {node.name}: memory of the GPU ran out ({why}); close what else uses "
                "it, take fp16, which needs half, or run with `--device cpu`"
            )
        return EngineError(
            f"cannot load {node.name}: {why}; {self.tensorrt.name} may not support "
            f"{self.machine['gpu']}: try `--backend onnxruntime`, or `--device cpu`"
        )


class _Addressed(Protocol):
    address: int


class TensorRtEngine(BuiltEngine):
    """One execution context with fixed addresses.

    Attributes:
        kept: the file that it was loaded from, without its content.
        sha256: of that file.
    """

    def __init__(
        self,
        node: NodeSpec,
        backend: TensorRtBackend,
        engine: Any,
        specs: Mapping[str, TensorSpec],
        kept: Kept,
    ) -> None:
        self.name = node.name
        self.kept, self.sha256 = replace(kept, content=None), kept.sha256
        self.inputs, self.outputs = _tensors(backend.tensorrt, engine, node)
        check_promise(node, self.inputs, self.outputs, specs)
        self._log = backend.log
        self._context = engine.create_execution_context()
        if self._context is None:
            raise backend.refusal(node)
        # All of these must outlive the context; the backend holds TensorRT's runtime.
        self._backend, self._engine = backend, engine
        self._buffers: tuple[DeviceBuffer, ...] = ()
        self._log.clear()

    @override
    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        self._buffers = tuple(buffers[spec.name] for spec in (*self.inputs, *self.outputs))
        for buffer in self._buffers:
            spec = buffer.spec
            address = cast(_Addressed, buffer).address
            if not self._context.set_tensor_address(spec.name, address):
                raise EngineError(
                    f"{self.name}: {spec} cannot be at {address:#x}: {worst_line(self._log.lines)}"
                )

    @override
    def enqueue(self, stream: int = 0) -> None:
        if self._context is None:
            raise EngineError(f"{self.name} is closed")
        if not self._context.execute_async_v3(stream):
            why = worst_line(self._log.lines)
            self._log.clear()
            raise EngineError(f"{self.name} failed: {why}")

    @override
    def close(self) -> None:
        self._context = None  # before its engine
        self._engine = None
        self._buffers = ()


def _tensors(
    tensorrt: TensorRt, engine: Any, node: NodeSpec
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of an engine in the order of the spec; tensors it does not name come last.

    Raises:
        EngineError: a tensor has no fixed shape, or an unknown type.
    """
    order = {name: index for index, name in enumerate((*node.inputs, *node.outputs))}
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for name in sorted(names, key=lambda name: order.get(name, len(order))):
        spec = tensorrt.spec(name, engine.get_tensor_shape(name), engine.get_tensor_dtype(name))
        if isinstance(spec, str):
            raise EngineError(f"{spec} is no static tensor of a known type")
        is_input = engine.get_tensor_mode(name).name == "INPUT"
        (inputs if is_input else outputs).append(spec)
    return tuple(inputs), tuple(outputs)
