"""OpenVINO on the CPU, reading and writing shared buffers in place.

Its kernels use bfloat16 and int8 instructions where the processor has them. What it would choose by
itself is set here: FP32 stays FP32 unless bf16 was asked for, and one request has all threads.
"""

import functools
import io
import logging
import mmap
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import openvino as ov

from ckd.contract.bundle import Content
from ckd.contract.errors import CkdError, EngineError
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import DType, TensorSpec
from ckd.runtime.backends.host import HostBuffer, HostRunner
from ckd.runtime.cpu import usable_cores
from ckd.runtime.engine import DeviceBuffer, Engine, check_promise, first_line
from ckd.runtime.engine_cache import EngineCache, EngineKey

_DTYPES: Final[Mapping[str, DType]] = {"u8": "uint8", "f32": "float32", "f16": "float16"}
#: What OpenVINO computes in where a file says float32. Left to itself it takes bfloat16 where the
#: processor has it; in what INT8 leaves in float, that cost the embedded cascade 0.017 of the
#: melanomas' Jaccard, so it has to be asked for.
_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}

_Settings = Mapping[str, str | int]

_log = logging.getLogger(__name__)


@functools.cache
def _core() -> ov.Core:
    """One for all, until the process ends.

    Each one's CPU plugin gives the thread a stack for signals, and when it is released restores the
    one before. Of two that are released in the order in which they were made, the second restores
    memory that the first has freed: the next signal, such as Ctrl-C, ends the process (2026.4).
    """
    return ov.Core()


class OpenVinoBackend:
    """Engines on the CPU. A buffer's memory is one NumPy array that all requests share."""

    name = "openvino"
    device = "cpu"
    precisions: Mapping[str, str] = {
        "fp32": "fp32",
        "bf16": "fp32",
        "int8": "int8.cpu",
        "int8-bf16": "int8.cpu",
    }

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads or usable_cores()
        self._core = _core()
        self._cache = EngineCache()

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "OpenVinoEngine":
        """Compile a node, or take what was compiled earlier, and check it against the spec.

        Compiled networks come from a file mapped into memory, whose pages are given back once the
        weights are laid out for the kernels. That halves the memory of what is compiled directly.
        """
        settings: _Settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.num_threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        key: EngineKey = {
            "network": node.name,
            "onnx": onnx.sha256,
            "openvino": ov.get_version(),
            "device": str(self._core.get_property("CPU", "FULL_DEVICE_NAME")),
            "instructions": str(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            **settings,
        }

        def build() -> memoryview:
            # From a file it is read piece by piece; from memory it would be copied twice.
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                path.write_bytes(onnx.read())
                model = self._core.read_model(path)
            exported: io.BytesIO = self._core.compile_model(model, "CPU", settings).export_model()
            return exported.getbuffer()

        try:
            exported = _Exported(self._cache.fetch(key, build))
            try:
                compiled = self._core.import_model(exported.tensor, "CPU", dict(settings))
            except RuntimeError as error:
                _log.warning("%s is compiled again: %s", node.name, first_line(error))
                self._cache.drop(key)
                exported = _Exported(self._cache.fetch(key, build))
                compiled = self._core.import_model(exported.tensor, "CPU", dict(settings))
        except CkdError:
            raise
        except Exception as error:
            raise EngineError(f"cannot load {node.name}: {first_line(error)}") from error
        exported.give_back_pages()
        return OpenVinoEngine(node, compiled, exported, specs)

    def allocate(self, spec: TensorSpec) -> "OpenVinoBuffer":
        """Host memory, wrapped once for every request that uses it."""
        return OpenVinoBuffer(spec)

    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> HostRunner:
        """One engine after another."""
        return HostRunner(spec, engines, buffers)


class _Exported:
    """A compiled network as OpenVINO writes it; an imported one goes on reading its weights."""

    def __init__(self, content: mmap.mmap | bytes | memoryview) -> None:
        self._content = content if isinstance(content, mmap.mmap) else bytearray(content)
        if isinstance(self._content, mmap.mmap) and hasattr(mmap, "MADV_NOHUGEPAGE"):
            # Else each bias that is read keeps 2 MB of laid-out weights around it in memory.
            self._content.madvise(mmap.MADV_NOHUGEPAGE)
        self.tensor = ov.Tensor(np.frombuffer(self._content, np.uint8), shared_memory=True)

    def give_back_pages(self) -> None:
        """Free the memory of a mapped file; what is needed again is read from it again."""
        if isinstance(self._content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self._content.madvise(mmap.MADV_DONTNEED)


class OpenVinoBuffer(HostBuffer):
    """A NumPy array and the tensor over the same memory; the array must outlive the tensor."""

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__(spec)
        self.tensor = ov.Tensor(self.array, shared_memory=True)


class OpenVinoEngine:
    """One inference request bound to fixed buffers."""

    def __init__(
        self,
        node: NodeSpec,
        compiled: ov.CompiledModel,
        exported: _Exported,
        specs: Mapping[str, TensorSpec],
    ) -> None:
        self.name = node.name
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)
        check_promise(node, self.inputs, self.outputs, specs)
        self._exported: _Exported | None = exported  # must outlive the request
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        self._buffers: tuple[DeviceBuffer, ...] = ()

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        """Point inputs and outputs at the buffers of their names."""
        assert self._request is not None
        assert self._exported is not None
        self._buffers = tuple(buffers[spec.name] for spec in (*self.inputs, *self.outputs))
        for buffer in self._buffers:
            self._request.set_tensor(buffer.spec.name, cast(OpenVinoBuffer, buffer).tensor)
        self.enqueue()  # the first run lays out the weights of some kernels
        self._exported.give_back_pages()

    def enqueue(self, stream: int = 0) -> None:
        """Run; results are in the bound buffers on return."""
        if self._request is None:
            raise EngineError(f"{self.name} is closed")
        try:
            self._request.infer()
        except Exception as error:
            raise EngineError(f"{self.name} failed: {first_line(error)}") from error

    def close(self) -> None:
        """Free the request and the compiled network."""
        self._request, self._exported, self._buffers = None, None, ()


def _spec(port: Any) -> TensorSpec:
    element, shape = port.get_element_type().get_type_name(), port.get_partial_shape()
    if element not in _DTYPES or not shape.is_static:
        raise EngineError(f"{port.any_name}: {element}{shape} is no static tensor of a known type")
    return TensorSpec(port.any_name, tuple(shape.to_shape()), _DTYPES[element])
