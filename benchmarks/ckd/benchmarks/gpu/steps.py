"""Ways to take images through a whole system, each as one callable for one turn.

What all of them do in a turn: copy uint8 images at network size from the host's memory to the
device, run all networks, copy the logits back, and return when they are there.

Suffixes: B batch, S side of the network's input; RGB.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ckd.benchmarks.gpu.device import DeviceClock, HostClock, clock_for
from ckd.benchmarks.gpu.meter import Copies, Meter
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError
from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine import Backend

Logits = Mapping[str, NDArray[Any]]


class Step(Protocol):
    """One contender.

    Attributes:
        device_ms: of every call so far.
    """

    device_ms: list[float]

    @property
    def caveat(self) -> str:
        """To be added to its name; empty where it runs as the name says. Known after two calls."""

    def __call__(self) -> None:
        """One turn."""

    def logits(self) -> Logits:
        """Every result of the last call, by name; of the last image where the batch is run one
        by one.
        """

    def copies(self) -> Copies:
        """What crossed the bus in the last call."""

    def allocations(self) -> int | None:
        """Of memory, so far; None where nobody counts."""

    def close(self) -> None:
        """Release what it holds."""


class OnnxStep:
    """One ONNX graph of the whole system in plain ONNX Runtime: `session.run` and nothing else.

    The graph takes one image, so a batch is run one by one.

    Args:
        graph: makes the file, once it is known that it can be used.
        images_BSS3: what it is given.
        device: as torch names it.

    Raises:
        EngineError: the session does not run on the device that was asked for.
    """

    caveat = ""

    def __init__(
        self, graph: Callable[[], Path], images_BSS3: NDArray[np.uint8], device: str
    ) -> None:
        import onnxruntime as ort

        provider, settings, stream = "CPUExecutionProvider", {}, None
        if device != "cpu":
            provider = "CUDAExecutionProvider"
            if provider not in ort.get_available_providers():
                raise EngineError(f"ONNX Runtime {ort.__version__} was built without CUDA")
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            settings = {
                "device_id": str(torch.device(device).index or 0),
                "user_compute_stream": str(stream.cuda_stream),  # so that events can be put in it
                "use_tf32": "0",
            }
        self._session = ort.InferenceSession(
            str(graph()), providers=[(provider, settings)], enable_fallback=0
        )
        if self._session.get_providers()[0] != provider:
            raise EngineError("ONNX Runtime fell back to the CPU; are its CUDA libraries there?")
        self._images = images_BSS3
        self._names = [value.name for value in self._session.get_outputs()]
        self._clock = clock_for(device, stream)
        self._logits: Logits = {}
        self.device_ms: list[float] = []

    def __call__(self) -> None:
        """One turn."""
        self._clock.start()
        for image_SS3 in self._images:
            values = self._session.run(self._names, {IMAGE: image_SS3[None]})
        self._logits = dict(zip(self._names, values, strict=True))
        self.device_ms.append(self._clock.stop())

    def logits(self) -> Logits:
        """See `Step`."""
        return self._logits

    def copies(self) -> Copies:
        """See `Step`; by construction."""
        values = self._logits.values()
        one = Copies(1, self._images[0].nbytes, len(values), sum(v.nbytes for v in values))
        return one * len(self._images)

    def allocations(self) -> int | None:
        """See `Step`: it has a pool."""
        return None

    def close(self) -> None:
        """See `Step`."""
        self._session = None


class CkdStep:
    """Our cascade, from an image at network size: what `Cascade.predict` does between resize and
    masks. Its engines take one image, so a batch is run one by one.

    Args:
        cascade: closed with the step.
        images_BSS3: what it is given.
        meter: of the device that it runs on; closed as well.
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
        self._runner = cascade.chain.runner  # what `predict` calls
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

    def __call__(self) -> None:
        """One turn."""
        taken_ms = 0.0
        for image_SS3 in self._images:
            self._clock.start()
            self._logits = self._runner.run(image_SS3[None], _no_lap)
            taken_ms += self._clock.stop()
        self.device_ms.append(taken_ms)

    def logits(self) -> Logits:
        """See `Step`."""
        return {name: np.array(values, np.float32) for name, values in self._logits.items()}

    def copies(self) -> Copies:
        """See `Step`; counted on the way to the device."""
        one = Copies(0, 0, 0, 0) if self._meter is None else self._meter.copies()
        return one * len(self._images)

    def allocations(self) -> int | None:
        """See `Step`."""
        return None if self._meter is None else self._meter.num_allocations

    def close(self) -> None:
        """See `Step`."""
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
    """A cascade on a device, with a `Meter` in between where it is a GPU.

    Args:
        bundle: makes the bundle, once it is known that the backend can be used.
        backend: "onnxruntime" or "tensorrt".
        precision: of the backend's.
        images_BSS3: what it is given.
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
        on_device = _on_cuda(backend, cast(Cuda, meter))
        cascade = Cascade(Bundle(bundle()), on_device, precision)
        return CkdStep(cascade, images_BSS3, meter, in_line=in_line)
    except BaseException:
        meter.close()
        raise


def one_after_another(spec: CascadeSpec) -> CascadeSpec:
    """The same networks, each of which also depends on the one before: none may run beside it."""
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
