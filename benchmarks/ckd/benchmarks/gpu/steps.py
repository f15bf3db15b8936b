"""Ways to take images through a whole system, each as one callable for one turn.

In a turn each of them copies uint8 images at network size from the host's memory to the device,
runs all networks, copies the logits back, and returns when the copies are done.

Suffixes: B batch, S side of the network's input; RGB.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from ckd.benchmarks.gpu.device import clock_for
from ckd.benchmarks.gpu.meter import Copies
from ckd.contract.errors import EngineError
from ckd.contract.wiring import IMAGE

Logits = Mapping[str, NDArray[Any]]


class Step(Protocol):
    """One contender.

    Attributes:
        device_ms: of every call so far.
    """

    device_ms: list[float]

    @property
    def caveat(self) -> str:
        """Text to add to its name; empty if it runs as the name says. Known after two calls."""

    def __call__(self) -> None:
        """One turn."""

    def logits(self) -> Logits:
        """Every output of the last call, by name; if the batch is run one by one, of the last
        image.
        """

    def copies(self) -> Copies:
        """The copies of the last call."""

    def allocations(self) -> int | None:
        """Number of memory allocations so far; None if they are not counted."""

    def close(self) -> None:
        """Release its memory and engines."""


class OnnxStep(Step):
    """One ONNX graph of the whole system in plain ONNX Runtime: `session.run` and nothing else.

    The graph takes one image, so a batch is run one by one.

    Args:
        graph: makes the file; called once it is known that the device can be used.
        images_BSS3: the input of every turn.
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

    @override
    def __call__(self) -> None:
        self._clock.start()
        for image_SS3 in self._images:
            values = self._session.run(self._names, {IMAGE: image_SS3[None]})
        self._logits = dict(zip(self._names, values, strict=True))
        self.device_ms.append(self._clock.stop())

    @override
    def logits(self) -> Logits:
        return self._logits

    @override
    def copies(self) -> Copies:
        values = self._logits.values()
        one = Copies(1, self._images[0].nbytes, len(values), sum(v.nbytes for v in values))
        return one * len(self._images)

    @override
    def allocations(self) -> int | None:
        return None

    @override
    def close(self) -> None:
        self._session = None
