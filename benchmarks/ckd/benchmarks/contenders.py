"""The contenders of a latency measurement, each a callable for a single turn.

A contender is a cascade as an application calls it, or a system whose networks all run in one call
between the same resize and the same masks.

Suffixes: H rows, W columns of the frame; C channels in RGB order; S side of the network's input.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.benchmarks.peers import Infer
from ckd.contract.bundle import Bundle
from ckd.finding.finder import Finder
from ckd.finding.finding import Finding
from ckd.picture.resize import network_image
from ckd.runtime.backends.selection import installed, open_backend
from ckd.runtime.cascade import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSetting:
    """How a cascade is loaded; see `Cascade.load`."""

    backend: str = "onnxruntime"
    device: str = "cpu"
    precision: str = "fp32"
    threads: int

    def load(self, bundle: Path | str) -> Cascade:
        """The cascade, ready to run."""
        return Cascade.load(bundle, self.backend, self.device, self.precision, self.threads)


#: ONNX Runtime's CPU kernels compute this in FP32 and only convert more.
_FP16_EMULATED: Final = ("onnxruntime", "fp16")


def frame() -> NDArray[np.uint8]:
    """A generated dermoscopy frame, uint8 RGB [1080, 1920, 3], with the detail of a real one."""
    from ckd.data.synthetic.write import dermoscopy

    return np.ascontiguousarray(dermoscopy(seed=7, side_px=1920).image_HWC[420:1500])


def write_jpeg(image_HWC: NDArray[np.uint8], path: Path) -> Path:
    """Save an image as a camera would: JPEG, quality 92, colour at half resolution."""
    Image.fromarray(image_HWC).save(path, quality=92, subsampling="4:2:0")
    return path


class CascadeContender:
    """A cascade as an application calls it, on an array or on a file.

    Attributes:
        laps_ms: of every call, its steps by name.
        networks_ms: of every call, all networks.
    """

    def __init__(self, cascade: Cascade, image: NDArray[np.uint8] | Path) -> None:
        self.cascade, self.image = cascade, image
        self.laps_ms: list[Mapping[str, float]] = []
        self.networks_ms: list[float] = []

    def __call__(self) -> None:
        """One turn."""
        finding = self.cascade.predict(self.image)
        self.laps_ms.append(finding.timings_ms)
        laps = finding.timings_ms  # on a GPU networks run side by side and have one lap
        nodes = ("networks",) if "networks" in laps else tuple(self.cascade.chain.engines)
        self.networks_ms.append(sum(laps[node] for node in nodes))

    def logits(self) -> Mapping[str, NDArray[Any]]:
        """Every output of the last call, by name."""
        names = self.cascade.spec.outputs.names()
        return {name: self.cascade.chain.buffers[name].read().copy() for name in names}


class SystemContender:
    """All networks in one call, between the same resize and the same masks as a cascade's.

    Args:
        infer: the networks.
        bundle: whose rules make findings of their outputs.
        frame_HWC: uint8 RGB, what each turn is about.

    Attributes:
        networks_ms: of every call.
        tensors: what the last call gave.
    """

    def __init__(self, infer: Infer, bundle: Bundle, frame_HWC: NDArray[np.uint8]) -> None:
        self.infer, self.spec, self.frame_HWC = infer, bundle.spec, frame_HWC
        self._finder = Finder(bundle.spec, bundle.id, "", "fp32", read=bundle.read)
        self.networks_ms: list[float] = []
        self.tensors: Mapping[str, NDArray[Any]] = {}

    def __call__(self) -> None:
        """One turn."""
        self.predict(self.frame_HWC)

    def predict(self, image_HWC: NDArray[np.uint8]) -> Finding:
        """As `Cascade.predict`."""
        image_SSC = network_image(image_HWC, self.spec.image_size)
        start = time.perf_counter()
        self.tensors = self.infer(image_SSC)
        self.networks_ms.append(1e3 * (time.perf_counter() - start))
        finding = self._finder(self.tensors, image_HWC.shape[:2], image_SSC)
        return replace(finding, timings_ms={"total": self.networks_ms[-1]})

    def logits(self) -> Mapping[str, NDArray[Any]]:
        """Every output of the last call, by name."""
        return self.tensors


def cpu_cascades(bundle: Bundle, threads: int, stack: contextlib.ExitStack) -> dict[str, Cascade]:
    """The bundle on every installed CPU backend in every precision it has, by "backend PRECISION".

    FP16 on ONNX Runtime is left out, see `_FP16_EMULATED`.
    """
    cascades = {}
    for name in installed():
        backend = open_backend(name, "cpu", threads)
        for precision, files in backend.precisions.items():
            if files in bundle.spec.file_kinds() and (name, precision) != _FP16_EMULATED:
                cascade = Cascade(bundle, backend, precision)
                cascades[f"{name} {precision.upper()}"] = stack.enter_context(cascade)
    return cascades
