"""The chain: one engine for each node and one buffer for each tensor, without copies in between.

All code that runs networks uses it: users' cascades, acceptance cases, calibration, benchmarks.

Suffix: S side of the square network input in pixels.
"""

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, UsageError
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.closing import Closing
from ckd.runtime.cpu import lacks_int8_instructions
from ckd.runtime.engine import Backend, DeviceBuffer, Engine, Outputs, Runner

_log = logging.getLogger(__name__)


class Chain(Closing):
    """Networks that are loaded one by one, and connected by buffers that never move.

    Every tensor of the graph has one buffer; its producer writes it and its consumers read it in
    place. A chain may be used by one thread at a time.

    Args:
        spec: names, order and shapes of the networks.
        backend: makes engines and buffers.
        precision: that the networks compute in.

    Attributes:
        spec: of the constructor.
        backend: of the constructor.
        precision: of the constructor.
        file_kind: kind of the files that are loaded for this precision.
        tensors: shape and type of each buffer, by tensor name.
        buffers: by tensor name.
        engines: those that are loaded so far, by node name, in running order.

    Raises:
        UsageError: the backend does not compute in this precision, or ``spec`` has no files for it.
    """

    def __init__(self, spec: CascadeSpec, backend: Backend, precision: str) -> None:
        if precision not in backend.precisions:
            raise UsageError(
                f"{backend.name} does not compute in {precision}; "
                f"expected {', '.join(backend.precisions)}"
            )
        self.spec, self.backend, self.precision = spec, backend, precision
        self.file_kind = backend.precisions[precision]
        if self.file_kind not in spec.file_kinds():
            raise UsageError(
                f"{spec.name}: no {self.file_kind} networks in this bundle; "
                f"it has {', '.join(spec.file_kinds())}; `ckd-export bundle` and "
                "`ckd-calibrate` make others"
            )
        self.tensors: dict[str, TensorSpec] = {
            name: spec.tensor(name, self.file_kind) for name in spec.shapes
        }
        self.engines: dict[str, Engine] = {}
        self.buffers: dict[str, DeviceBuffer] = {}
        self._runner: Runner | None = None
        self._release = ExitStack()
        self._is_open = True

    @classmethod
    def of(cls, bundle: Bundle, backend: Backend, precision: str) -> "Chain":
        """A chain with all networks of a bundle.

        Raises:
            UsageError: the bundle or the backend lacks the precision.
            BundleError: a file is missing or was changed, or its inputs and outputs are not those
                that `cascade.json` says.
            EngineError: a network cannot be loaded.
        """
        chain = cls(bundle.spec, backend, precision)
        if backend.device == "cpu" and precision.startswith("int8") and lacks_int8_instructions():
            _log.warning(
                "this processor has no instructions for INT8 (VNNI): slow, and sums may saturate; "
                "`ckd-export verify` repeats the acceptance cases"
            )
        try:
            # Engines come first, because building one needs most of a device's memory.
            for node in chain.spec.nodes:
                onnx = bundle.content(node.files[chain.file_kind])
                chain._keep(node.name, backend.load(node, onnx, chain.tensors, precision))
            chain._allocate()
            for engine in chain.engines.values():
                engine.bind(chain.buffers)
            chain._runner = backend.runner(chain.spec, chain.engines, chain.buffers)
        except BaseException:
            chain.close()
            raise
        return chain

    @property
    def runner(self) -> Runner:
        """Takes a frame through the engines that are loaded; `EngineError` after `close`."""
        if self._runner is None:
            self._check_open()
            self._runner = self.backend.runner(self.spec, self.engines, self.buffers)
        return self._runner

    def load(self, node: str, onnx: Content) -> None:
        """Load the network of a node; call it for the nodes in running order.

        Raises:
            BundleError: the file's inputs and outputs are not those that the spec says.
            EngineError: the network cannot be loaded.
        """
        self._check_open()
        self._drop_runner()  # it was made for the engines before
        self._allocate()
        self._keep(node, self._bound(node, onnx))

    @contextmanager
    def replaced(self, node: str, onnx: Content) -> Iterator[None]:
        """Within a ``with`` block, run another network in place of a node's own.

        Raises:
            BundleError: the file's inputs and outputs are not those that the spec says.
            EngineError: the network cannot be loaded.
        """
        self._check_open()
        own = self.engines[node]
        engine = self._bound(node, onnx)
        try:
            self._drop_runner()  # it may still use the node's own engine, as a CUDA graph does
            self.engines[node] = engine
            yield
        finally:
            self.engines[node] = own
            try:
                self._drop_runner()
            finally:
                engine.close()

    def run(
        self, image_SS3: NDArray[np.uint8], lap: Callable[[str], None] | None = None
    ) -> Outputs:
        """The outputs for an image of network size; valid until the next run.

        Args:
            image_SS3: uint8 RGB.
            lap: called with the name of each step that ends, see `Runner.run`.

        Raises:
            EngineError: an engine failed.
        """
        return self.runner.run(image_SS3[None], lap or (lambda step: None))

    def steps(self, image_SS3: NDArray[np.uint8]) -> Iterator[str]:
        """Run node after node; gives each node's name when its outputs are in their buffers.

        If iteration stops early, only a prefix of the chain has run. On a GPU this is slower than
        `run`, because it waits after every node and replays no CUDA graph.

        Raises:
            EngineError: an engine failed.
        """
        return self.runner.steps(image_SS3[None])

    def inputs_of(self, node: str, image_SS3: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """The inputs of a node by tensor name, after running the nodes before it.

        The arrays are the buffers' own memory, valid until the next run.

        Raises:
            EngineError: an engine failed.
        """
        names = [one.name for one in self.spec.nodes]
        if (place := names.index(node)) == 0:
            self._allocate()
            self.buffers[IMAGE].write(image_SS3[None])
        else:
            if (before := names[place - 1]) not in self.engines:
                raise UsageError(f"{node}: {before}, which runs before it, is not loaded")
            next(step for step in self.steps(image_SS3) if step == before)
        return {name: self.buffers[name].read() for name in self.spec.node(node).inputs}

    def run_all(self, image_SS3: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Copies of all tensors of the graph after a run, for parity checks and acceptance."""
        self.run(image_SS3)
        return {name: buffer.read().copy() for name, buffer in self.buffers.items()}

    def measure_ms(self, runs: int = 7) -> float:
        """Median time of the networks for one image in milliseconds, after a warm-up."""
        side = self.spec.image_size
        grey_SS3 = np.full((side, side, 3), 128, np.uint8)
        taken_ms = []
        for _ in range(2 + runs):
            start = time.perf_counter()
            self.run(grey_SS3)
            taken_ms.append(1e3 * (time.perf_counter() - start))
        return statistics.median(taken_ms[2:])

    def close(self) -> None:
        """Release runner, engines and buffers; calling it twice is allowed."""
        self._is_open = False
        self._drop_runner()
        self._release.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise EngineError("this cascade has been closed; load it again")

    def _bound(self, node: str, onnx: Content) -> Engine:
        engine = self.backend.load(self.spec.node(node), onnx, self.tensors, self.precision)
        try:
            engine.bind(self.buffers)
        except BaseException:
            engine.close()
            raise
        return engine

    def _keep(self, node: str, engine: Engine) -> None:
        self.engines[node] = engine
        self._release.callback(engine.close)

    def _allocate(self) -> None:
        for name, tensor in self.tensors.items():
            if name not in self.buffers:
                self.buffers[name] = self.backend.allocate(tensor)
                self._release.callback(self.buffers[name].close)

    def _drop_runner(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()
