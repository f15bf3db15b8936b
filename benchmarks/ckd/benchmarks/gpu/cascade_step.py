"""Our cascade as a contender: loaded on a device, and called for one turn.

Suffixes: B batch, S side of the network's input; RGB.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.benchmarks.gpu.clock import DeviceClock, HostClock
from ckd.benchmarks.gpu.meter import Copies, Meter
from ckd.benchmarks.gpu.steps import Logits, Step
from ckd.contract.bundle import Bundle
from ckd.contract.spec import CascadeSpec
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine import Backend


class CkdStep(Step):
    """Our cascade, from an image at network size: what `Cascade.predict` does between resize and
    masks. Its engines take one image, so a batch is run one by one.

    Args:
        cascade: closed with the step.
        images_BSS3: the input of every turn.
        meter: of the device that it runs on; closed with the step.
        in_line: wait for each network before the next one begins.
    """

    caveat = ""

    def __init__(
        self,
        cascade: Cascade,
        images_BSS3: NDArray[np.uint8],
        meter: Meter | None = None,
        *,
        in_line: bool = False,
    ) -> None:
        self._cascade, self._images, self._meter = cascade, images_BSS3, meter
        self._runner = cascade.chain.runner  # the one that `predict` calls
        self._release = ExitStack()
        if meter is not None:
            self._release.callback(meter.close)
        self._release.callback(cascade.close)
        if in_line:
            spec = one_after_another(cascade.spec)
            self._runner = cascade.backend.runner(
                spec, cascade.chain.engines, cascade.chain.buffers
            )
            self._release.callback(self._runner.close)
        self._clock: DeviceClock = HostClock() if meter is None else meter
        self._logits: Logits = {}
        self.device_ms: list[float] = []

    @override
    def __call__(self) -> None:
        taken_ms = 0.0
        for image_SS3 in self._images:
            self._clock.start()
            self._logits = self._runner.run(image_SS3[None], _no_lap)
            taken_ms += self._clock.stop()
        self.device_ms.append(taken_ms)

    @override
    def logits(self) -> Logits:
        return {name: np.array(values, np.float32) for name, values in self._logits.items()}

    @override
    def copies(self) -> Copies:
        one = Copies(0, 0, 0, 0) if self._meter is None else self._meter.copies()
        return one * len(self._images)

    @override
    def allocations(self) -> int | None:
        return None if self._meter is None else self._meter.num_allocations

    @override
    def close(self) -> None:
        self._release.close()


def open_ckd(
    bundle: Callable[[], Path],
    backend: str,
    precision: str,
    images_BSS3: NDArray[np.uint8],
    device: str,
    *,
    in_line: bool = False,
) -> CkdStep:
    """Load a cascade on a device; on a GPU, a `Meter` stands in between.

    Args:
        bundle: makes the bundle; called once it is known that the backend can be used.
        backend: "onnxruntime" or "tensorrt".
        precision: one of the backend's.
        images_BSS3: the input of every turn.
        device: as torch names it.
        in_line: see `CkdStep`.

    Raises:
        CkdError: as `Cascade.load`.
    """
    if device == "cpu":
        host = open_backend(backend, device, None)
        return CkdStep(Cascade(Bundle(bundle()), host, precision), images_BSS3, in_line=in_line)
    from ckd.runtime.cuda.bindings import open_cuda

    meter = Meter(open_cuda(device))
    try:
        on_device = _on_cuda(backend, meter)
        cascade = Cascade(Bundle(bundle()), on_device, precision)
        return CkdStep(cascade, images_BSS3, meter, in_line=in_line)
    except BaseException:
        meter.close()
        raise


def one_after_another(spec: CascadeSpec) -> CascadeSpec:
    """The same networks, each of which also depends on the one before, so that none run side by
    side.
    """
    nodes = [spec.nodes[0]]
    for node in spec.nodes[1:]:
        before = nodes[-1].outputs[0]
        nodes.append(replace(node, inputs=tuple(dict.fromkeys((*node.inputs, before)))))
    return replace(spec, nodes=tuple(nodes))


def _on_cuda(backend: str, cuda: Cuda) -> Backend:
    if backend == "tensorrt":
        from ckd.runtime.backends.tensorrt.backend import TensorRtBackend

        return TensorRtBackend(cuda)
    from ckd.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

    return OnnxRuntimeCudaBackend(cuda)


def _no_lap(what: str) -> None:
    """Steps in between are not timed here."""
