"""What users load: a bundle's chain of networks, from photographs to findings.

Suffixes: H rows, W columns of the image as given; C channels in RGB order.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.contract.spec import CascadeSpec
from ckd.finding.answers import answers_from_logits, quality_of
from ckd.finding.finding import Finding
from ckd.picture.decode import check_rgb, read_rgb
from ckd.picture.resize import network_image
from ckd.runtime.backends.selection import chosen_device, open_backend
from ckd.runtime.certificate import certify
from ckd.runtime.chain import Chain
from ckd.runtime.choice import fastest_backend
from ckd.runtime.closing import Closing
from ckd.runtime.engine import Backend, DeviceArray, DeviceBuffer, DeviceRunner, Outputs
from ckd.runtime.stopwatch import Stopwatch

_log = logging.getLogger(__name__)


class Cascade(Closing):
    """A bundle's networks, loaded and joined, and what they say of photographs.

    One cascade serves one thread at a time; make one per thread. Use `Cascade.load`; the
    constructor is for tests and for backends of one's own.

    Attributes:
        chain: the networks, for those who want more than findings.
        bundle_id: name and first digits of the digest of the bundle.
    """

    def __init__(self, bundle: Bundle, backend: Backend, precision: str) -> None:
        self.chain = Chain.of(bundle, backend, precision)
        self.bundle_id = bundle.id

    @property
    def spec(self) -> CascadeSpec:
        """What `cascade.json` of the bundle says."""
        return self.chain.spec

    @property
    def backend(self) -> Backend:
        """What the networks run on."""
        return self.chain.backend

    @property
    def precision(self) -> str:
        """What the networks compute in."""
        return self.chain.precision

    @classmethod
    def load(
        cls,
        bundle: Path | str | None = None,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        num_threads: int | None = None,
    ) -> "Cascade":
        """Load a bundle, by default the one that comes with `ckd`.

        Args:
            bundle: folder or zip file.
            backend: a backend's name; "auto" takes the fastest here, see `ckd.runtime.choice`.
            device: "auto", "cpu", "cuda" or "cuda:N"; "auto" takes a GPU where TensorRT and a
                device are there, and the CPU if they cannot run this bundle in this precision.
            precision: "auto" takes FP32; "bf16" runs the same files in bfloat16, "int8-bf16" what
                INT8 leaves in float (both OpenVINO).
            num_threads: CPU threads; all available cores by default.

        Engines that were built on this machine first repeat the bundle's acceptance cases, see
        `ckd.runtime.certificate`.

        Raises:
            BundleError: the bundle is incomplete, altered or not understood.
            EnvironmentUnusable: no backend is installed, or no GPU answers.
            EngineError: a network cannot be loaded.
            GateFailed: engines built here answer otherwise than recorded.
            UsageError: an unknown name, or a precision that the bundle lacks.
        """
        opened = Bundle(embedded_bundle() if bundle is None else Path(bundle))
        chosen = "fp32" if precision == "auto" else precision

        def load(name: str, device: str) -> "Cascade":
            cascade = cls(opened, open_backend(name, device, num_threads), chosen)
            try:
                certify(cascade.chain, opened)
            except BaseException:
                cascade.close()
                raise
            return cascade

        def measure_ms(name: str) -> float:
            with load(name, "cpu") as cascade:
                return cascade.chain.measure_ms()

        place = chosen_device(backend, device)
        if backend != "auto":
            return load(backend, place)
        if place != "cpu":
            try:
                return load(backend, place)
            except (EngineError, EnvironmentUnusable, UsageError) as error:
                if device != "auto":
                    raise
                # That it failed is news; that a GPU is not for this, or has no bf16, is none.
                level = logging.WARNING if isinstance(error, EngineError) else logging.INFO
                _log.log(level, "%s; taking the CPU", error)
        return load(fastest_backend(opened.digest(), chosen, num_threads, measure_ms), "cpu")

    def warmup(self, runs: int = 2) -> None:
        """Run on a grey image, so that the first real one does not pay for lazy initialisation."""
        side = self.spec.image_size
        grey = np.full((side, side, 3), 128, np.uint8)
        for _ in range(runs):
            self.predict(grey)

    def predict(self, image: NDArray[np.uint8] | Path | str | DeviceArray) -> Finding:
        """Analyse one image.

        Args:
            image: uint8 RGB [H, W, 3] (OpenCV gives BGR: reverse the last axis), or a file; with a
                GPU also an array that lies there, see `run_device`, of which only the logits come
                to the host.

        Raises:
            InputError: the file or array is not an image that can be analysed.
            EngineError: an engine failed.
        """
        on_host = isinstance(image, np.ndarray | Path | str)
        runner = self.chain.runner
        if isinstance(runner, DeviceRunner) and not on_host:
            return self._predict_device(runner, cast(DeviceArray, image))
        image_HWC = _opened(image)
        watch = Stopwatch()
        small_HWC = network_image(image_HWC, self.spec.image_size)
        logits = self.chain.run(small_HWC, watch.lap)
        return self._finding(logits, image_HWC.shape[:2], watch)

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Finding]:
        """Analyse images one by one as they come; nothing runs until the result is iterated.

        On a GPU frames overlap: the next image is taken and prepared before a finding is given.
        That is for files; with a camera `predict` gives each finding a frame earlier.
        """
        runner = self.chain.runner
        if isinstance(runner, DeviceRunner):
            return self._overlapped(runner, images)
        return map(self.predict, images)

    def run_device(self, image: object) -> Mapping[str, DeviceBuffer]:
        """The logits of an image that is on the GPU already, left there: nothing crosses the bus.

        Args:
            image: an array of PyCUDA, CuPy, Numba or torch (anything with DLPack or
                ``__cuda_array_interface__``), uint8 RGB [H, W, 3] without gaps. If it has not the
                networks' size it is resized on the GPU, which needs NVRTC.

        Returns:
            By tensor name (see ``spec.outputs``); each can be taken by those libraries the same
            way. It is the cascade's own memory: the next run overwrites it, `close` releases it.
            Work that reads it in a stream of its own must be over before that.

        Raises:
            InputError: it is no such array, or is on another device.
            EnvironmentUnusable: it has to be resized, and there is no NVRTC.
            EngineError: an engine failed.
            UsageError: this cascade runs on the CPU.
        """
        runner = self.chain.runner
        if not isinstance(runner, DeviceRunner):
            raise UsageError(
                f"this cascade runs on the {self.backend.device}, which takes no device arrays: "
                "load it with device='cuda', or give a NumPy array to predict"
            )
        return runner.run_device(image)

    def close(self) -> None:
        """Release every engine; the cascade cannot be used afterwards."""
        self.chain.close()

    def _predict_device(self, runner: DeviceRunner, image: DeviceArray) -> Finding:
        watch = Stopwatch()
        logits = runner.run_from_device(image)
        watch.lap("networks")
        height, width = image.shape[:2]
        return self._finding(logits, (int(height), int(width)), watch)

    def _overlapped(
        self, runner: DeviceRunner, images: Iterable[NDArray[np.uint8]]
    ) -> Iterator[Finding]:
        under_way: deque[tuple[tuple[int, int], Stopwatch]] = deque()

        def prepared() -> Iterator[NDArray[np.uint8]]:
            for image in images:
                image_HWC = _opened(image)
                watch = Stopwatch()
                small_HWC = network_image(image_HWC, self.spec.image_size)
                watch.lap("preprocess")
                under_way.append((image_HWC.shape[:2], watch))
                yield small_HWC[None]

        for logits in runner.stream(prepared()):
            size_hw, watch = under_way.popleft()
            watch.lap("networks")  # and what was done for the next image meanwhile
            yield self._finding(logits, size_hw, watch)

    def _finding(self, logits: Outputs, size_hw: tuple[int, int], watch: Stopwatch) -> Finding:
        answers = answers_from_logits(self.spec, logits, *size_hw)
        quality = quality_of(answers, self.spec.image_size)
        watch.lap("postprocess")
        return Finding(
            mask_HW=answers.mask_HW,
            coarse_mask_HW=answers.coarse_mask_HW,
            probabilities=answers.probabilities,
            exclusive=self.spec.outputs.exclusive,
            class_maps=answers.class_maps,
            quality=quality,
            timings_ms=watch.timings_ms(),
            bundle=self.bundle_id,
            backend=self.backend.name,
            precision=self.precision,
        )


def _opened(image: object) -> NDArray[np.uint8]:
    image_HWC: Any = read_rgb(Path(image)) if isinstance(image, str | Path) else image
    check_rgb(image_HWC)
    return np.asarray(image_HWC)


def embedded_bundle() -> Path:
    """Folder of the bundle that comes with `ckd`."""
    return Path(str(resources.files("ckd.runtime") / "bundles" / "ckdnet-mobile"))
