"""OpenVINO on the CPU, reading and writing shared buffers in place.

Its kernels use bfloat16 and int8 instructions where the processor has them. Settings that it would
choose by itself are fixed here: FP32 stays FP32 unless bf16 was asked for, one request has all
threads, and the device is the CPU by name: never AUTO, which may change it while it runs.

A compiled network that was kept is imported only if it has proved itself
(`ckd.runtime.certificate`); otherwise it is compiled again, and the new one has to.
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
from typing_extensions import override

from ckd.contract.errors import CkdError, EngineError
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import DType, TensorSpec
from ckd.runtime.backends.host import HostBuffer, HostRunner
from ckd.runtime.certificate import has_proved
from ckd.runtime.cpu import kernel_instructions, usable_cores
from ckd.runtime.engine import (
    BuiltEngine,
    DeviceBuffer,
    Engine,
    EngineBuilder,
    check_promise,
    first_line,
)
from ckd.runtime.engine_cache import EngineCache, EngineFile, EngineKey

_DTYPES: Final[Mapping[str, DType]] = {"u8": "uint8", "f32": "float32", "f16": "float16"}
#: What OpenVINO computes in where a file says float32. By default it takes bfloat16 where the
#: processor has it; in the layers that INT8 leaves in float, that lowered the Jaccard index of the
#: embedded cascade on melanomas by 0.017, so bfloat16 has to be asked for.
_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}

_CPU: Final = "CPU"

_Settings = Mapping[str, str | int]

_log = logging.getLogger(__name__)


@functools.cache
def _core() -> ov.Core:
    """One core for all backends, kept until the process ends.

    A core's CPU plugin gives the thread a stack for signals, and its release restores the previous
    stack. If two cores are released in the order in which they were made, the second restores a
    stack that the first has freed: the next signal, such as Ctrl-C, ends the process (2026.4).
    """
    return ov.Core()


class OpenVinoBackend(EngineBuilder):
    """Engines on the CPU. A buffer's memory is one NumPy array that all requests share.

    Attributes:
        machine: what compiled networks depend on besides the network and the precision.
    """

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
        self._has_warned = False  # that the type is another than asked for
        self._settings: _Settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.num_threads,
        }
        self.machine: Mapping[str, str | int] = {
            "openvino": ov.get_version(),
            "device": str(self._core.get_property(_CPU, "FULL_DEVICE_NAME")),
            "capabilities": " ".join(self._core.get_property(_CPU, "OPTIMIZATION_CAPABILITIES")),
            "instructions": kernel_instructions(),
            **self._settings,
        }

    @override
    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> "OpenVinoEngine":
        """Load a node from the cache of compiled networks; it is compiled first if it is not there.

        The cached file is mapped into memory, and its pages are given back once the weights have
        their layout for the kernels. That halves the memory of a network that is compiled directly.
        """
        hint = {"INFERENCE_PRECISION_HINT": _HINTS[precision]}
        settings: _Settings = {**self._settings, **hint}
        # INT8 and float32 may share a file and the hint, and prove themselves on other cases.
        key: EngineKey = {
            "network": node.name, "onnx": onnx.sha256, "precision": precision,
            **self.machine, **hint,
        }  # fmt: skip
        try:
            exported = _Exported(self._kept(key, node, onnx, settings, precision))
            try:
                compiled = self._core.import_model(exported.tensor, _CPU, dict(settings))
            except RuntimeError as error:
                _log.warning("%s is compiled again: %s", node.name, first_line(error))
                self._cache.drop(key)
                exported = _Exported(self._kept(key, node, onnx, settings, precision))
                compiled = self._core.import_model(exported.tensor, _CPU, dict(settings))
        except CkdError:
            raise
        except Exception as error:
            raise EngineError(f"cannot load {node.name}: {first_line(error)}") from error
        self._tell_type(compiled, _HINTS[precision])
        exported.give_back_pages()
        return OpenVinoEngine(node, compiled, exported, specs)

    def _kept(
        self, key: EngineKey, node: NodeSpec, onnx: Content, settings: _Settings, precision: str
    ) -> EngineFile:
        """The compiled network as OpenVINO exports it: one that proved itself, or a new one."""
        with self._cache.slot(key) as slot:
            if (kept := slot.engine) is not None:
                if has_proved(kept.sha256, node.name, precision, self.machine):
                    return kept
                _log.info("the kept %s has not proved itself here and is not used", node.name)
            compiled = self._core.compile_model(self._read(onnx), _CPU, dict(settings))
            exported: io.BytesIO = compiled.export_model()
            return slot.keep(exported.getbuffer())

    def _read(self, onnx: Content) -> ov.Model:
        """A network; OpenVINO reads a file piece by piece, and would copy one in memory twice."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                path.write_bytes(onnx.read())
                return self._core.read_model(path)
        except OSError as error:  # no room for it
            _log.info("the network is read in memory: %s", error)
            return self._core.read_model(io.BytesIO(onnx.read()))

    def _tell_type(self, compiled: ov.CompiledModel, asked: str) -> None:
        """Warn, once, if OpenVINO computes in another type than it was asked for."""
        given = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if given != asked and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "OpenVINO computes in %s and not in %s, for which this processor has no "
                "instructions", given, asked
            )  # fmt: skip

    @override
    def allocate(self, spec: TensorSpec) -> "OpenVinoBuffer":
        return OpenVinoBuffer(spec)

    @override
    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> HostRunner:
        return HostRunner(spec, engines, buffers)


class _Exported:
    """A compiled network as OpenVINO writes it; the network goes on reading its weights here."""

    def __init__(self, file: EngineFile) -> None:
        self.sha256, content = file.sha256, file.content
        self._content = content if isinstance(content, mmap.mmap) else bytearray(content)
        if isinstance(self._content, mmap.mmap) and hasattr(mmap, "MADV_NOHUGEPAGE"):
            # With huge pages, each bias that is read would keep 2 MB of weights in memory.
            self._content.madvise(mmap.MADV_NOHUGEPAGE)
        self.tensor = ov.Tensor(np.frombuffer(self._content, np.uint8), shared_memory=True)

    def give_back_pages(self) -> None:
        """Free the memory of a mapped file; pages that are needed again are read again."""
        if isinstance(self._content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self._content.madvise(mmap.MADV_DONTNEED)


class OpenVinoBuffer(HostBuffer):
    """A NumPy array and the tensor over the same memory, made once for all requests.

    The array must outlive the tensor.
    """

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__(spec)
        self.tensor = ov.Tensor(self.array, shared_memory=True)


class OpenVinoEngine(BuiltEngine):
    """One inference request bound to fixed buffers.

    Attributes:
        sha256: of the compiled network.
    """

    def __init__(
        self,
        node: NodeSpec,
        compiled: ov.CompiledModel,
        exported: _Exported,
        specs: Mapping[str, TensorSpec],
    ) -> None:
        self.name, self.sha256 = node.name, exported.sha256
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)
        check_promise(node, self.inputs, self.outputs, specs)
        self._exported: _Exported | None = exported  # must outlive the request
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        self._buffers: tuple[DeviceBuffer, ...] = ()

    @override
    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        assert self._request is not None
        assert self._exported is not None
        self._buffers = tuple(buffers[spec.name] for spec in (*self.inputs, *self.outputs))
        for buffer in self._buffers:
            self._request.set_tensor(buffer.spec.name, cast(OpenVinoBuffer, buffer).tensor)
        self.enqueue()  # the first run lays out the weights of some kernels
        self._exported.give_back_pages()

    @override
    def enqueue(self, stream: int = 0) -> None:
        if self._request is None:
            raise EngineError(f"{self.name} is closed")
        try:
            self._request.infer()
        except Exception as error:
            raise EngineError(f"{self.name} failed: {first_line(error)}") from error

    @override
    def close(self) -> None:
        self._request, self._exported, self._buffers = None, None, ()


def _spec(port: Any) -> TensorSpec:
    element, shape = port.get_element_type().get_type_name(), port.get_partial_shape()
    if element not in _DTYPES or not shape.is_static:
        raise EngineError(f"{port.any_name}: {element}{shape} is no static tensor of a known type")
    return TensorSpec(port.any_name, tuple(shape.to_shape()), _DTYPES[element])
