"""Engines that are Python functions, and a backend that makes them, on the recording device."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda
from typing_extensions import override

from ckd.contract.errors import EngineError
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.cuda.memory import CudaBuffer
from ckd.runtime.cuda.runner import CudaRunner
from ckd.runtime.engine import Backend, DeviceBuffer, Engine

Tensors = dict[str, NDArray[Any]]
Function = Callable[[Tensors], Tensors]

#: What an engine's outputs hold while it is at work.
_UNFINISHED = 0x5A


class FakeEngine(Engine):
    """A function of named tensors that runs in the order of a stream.

    It takes its time: what it reads is read when it starts, and its outputs hold rubbish until it
    ends. At its first run it allocates, as engines do that initialise lazily.

    Attributes:
        refuses_from: number of the run that is refused at once, with all after it.
        fails_from: number of the run that fails on the device, with all after it.
        synchronizes: waits for its stream, so that it cannot be captured.
    """

    def __init__(
        self,
        cuda: RecordingCuda,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        function: Function,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.refuses_from: int | None = None
        self.fails_from: int | None = None
        self.synchronizes = False
        self.num_enqueued = self.num_run = 0
        self._cuda, self.function = cuda, function
        self._addresses: dict[str, int] = {}
        self._scratch = 0

    @override
    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        for spec in (*self.inputs, *self.outputs):
            self._addresses[spec.name] = cast(CudaBuffer, buffers[spec.name]).address

    @override
    def enqueue(self, stream: int = 0) -> None:
        if self.refuses_from is not None and self.num_enqueued >= self.refuses_from:
            raise EngineError("this engine refuses to run")
        self.num_enqueued += 1
        if not self._scratch:
            self._scratch = self._cuda.allocate(64)
        outputs: Tensors = {}

        def start() -> None:
            outputs.update(self.function({s.name: self._view(s).copy() for s in self.inputs}))
            for spec in self.outputs:
                self._cuda.bytes_at(self._addresses[spec.name], spec.num_bytes)[:] = _UNFINISHED

        def end() -> None:
            if self.fails_from is not None and self.num_run >= self.fails_from:
                raise ArithmeticError("an engine failed on the device")
            self.num_run += 1
            for spec in self.outputs:
                self._view(spec)[...] = outputs[spec.name]

        self._cuda.put(stream, start)
        self._cuda.put(stream, end)
        if self.synchronizes:
            self._cuda.synchronize(stream)

    @override
    def close(self) -> None:
        scratch, self._scratch = self._scratch, 0
        self._cuda.free(scratch)

    def _view(self, spec: TensorSpec) -> NDArray[Any]:
        data = self._cuda.bytes_at(self._addresses[spec.name], spec.num_bytes)
        return data.view(np.dtype(spec.dtype)).reshape(spec.shape)


class FakeCudaBackend(Backend):
    """Makes fake engines of functions.

    Args:
        cuda: the device.
        function_of: a node and its file -> what the engine computes.
    """

    name = "fake"
    precisions: Mapping[str, str] = {"fp32": "fp32"}

    def __init__(
        self, cuda: RecordingCuda, function_of: Callable[[NodeSpec, Content], Function]
    ) -> None:
        self.cuda, self._function_of = cuda, function_of
        self.device = f"cuda:{cuda.index}"
        self.engines: dict[str, FakeEngine] = {}

    @override
    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> FakeEngine:
        inputs, outputs = (tuple(specs[n] for n in names) for names in (node.inputs, node.outputs))
        engine = FakeEngine(self.cuda, inputs, outputs, self._function_of(node, onnx))
        self.engines[node.name] = engine
        return engine

    @override
    def allocate(self, spec: TensorSpec) -> CudaBuffer:
        return CudaBuffer(spec, self.cuda)

    @override
    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> CudaRunner:
        return CudaRunner(self.cuda, spec, engines, buffers)
