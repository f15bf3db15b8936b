"""What users load: a bundle's chain of networks, from photographs to findings.

Suffixes: H rows, W columns of the image as given; C channels in RGB order.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ckd.capture import CaptureJudge
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE
from ckd.finding.finder import Finder
from ckd.finding.finding import Finding
from ckd.runtime.backends.selection import chosen_device, open_backend
from ckd.runtime.chain import Chain
from ckd.runtime.choice import fastest_backend, networks_ms
from ckd.runtime.closing import Closing
from ckd.runtime.deadline import Hurry, is_time
from ckd.runtime.engine import (
    Backend,
    DeviceArray,
    DeviceBuffer,
    DeviceRunner,
    EngineBuilder,
    Outputs,
)
from ckd.runtime.inputs import Analysed, Listener, NetworkInput, network_input, overlapped
from ckd.runtime.signed import open_bundle
from ckd.runtime.stopwatch import Stopwatch

_log = logging.getLogger(__name__)
#: Images that need no GPU. A tuple, as a union would be made anew for every frame.
_ON_HOST = (np.ndarray, Path, str)


class Cascade(Closing):
    """A bundle's networks, loaded and connected, which give findings of photographs.

    A cascade may be used by one thread at a time, but for what `begin` gives; make one for each
    thread. Users call
    `Cascade.load`; the constructor is for tests and for other backends.

    Args:
        bundle: whose networks are loaded.
        backend: that runs them.
        precision: that they compute in.
        operating_point: to decide by, instead of the bundle's default.
        prevalence: share of some labels where the device is used, see `load`.

    Attributes:
        chain: the networks, for code that needs their tensors.
        bundle_id: name and first digits of the digest of the bundle.
        bundle_digest: the whole digest, a SHA-256.
        decider: what decides, by which operating point and at which prevalence.
        judge: of captures; None for a bundle that does not judge them. A camera unit has its own
            (`ckd.capture.CaptureJudge.for_unit`). Of an array in a GPU's memory no capture is
            judged.
        listener: is told of every image but those of `run_device`; a journal sets it.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        precision: str,
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
    ) -> None:
        self._finder = Finder(
            bundle.spec, bundle.id, backend.name, precision,
            read=bundle.read, operating_point=operating_point, prevalence=prevalence,
            signer=bundle.signer,
        )  # fmt: skip
        self.chain = Chain.of(bundle, backend, precision)
        self._hurry = Hurry(self.chain)
        self.bundle_id, self.decider = bundle.id, self._finder.decider
        self.bundle_digest = bundle.digest()
        self.judge = CaptureJudge.of(bundle.spec)
        self.listener: Listener | None = None
        self._finished: deque[Stopwatch] = deque()  # of findings, from which to learn

    @property
    def spec(self) -> CascadeSpec:
        """The description of the cascade, from the bundle's `cascade.json`."""
        return self.chain.spec

    @property
    def backend(self) -> Backend:
        """The backend that runs the networks."""
        return self.chain.backend

    @property
    def precision(self) -> str:
        """The precision that the networks compute in."""
        return self.chain.precision

    @classmethod
    def load(
        cls,
        bundle: Path | str | None = None,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        num_threads: int | None = None,
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
        trusted_keys: Sequence[Path | str] | None = None,
    ) -> "Cascade":
        """Load a bundle, by default the one that comes with `ckd`.

        Args:
            bundle: folder or zip file.
            backend: a backend's name; "auto" takes the fastest on this machine, see
                `ckd.runtime.choice`.
            device: "auto", "cpu", "cuda" or "cuda:N"; "auto" takes a GPU if TensorRT and a GPU are
                present, and the CPU if they cannot run this bundle in this precision.
            precision: "auto" takes FP32; "bf16" runs the same files in bfloat16, and "int8-bf16"
                runs in bfloat16 what INT8 leaves in float (both with OpenVINO).
            num_threads: CPU threads; by default one for each available core.
            operating_point: "screening", "balanced" or "specific"; by default the bundle's. Decides
                what is flagged, see `ckd.finding.decision`.
            prevalence: by label, how frequent it is where the device is used. Moves the
                probabilities that people see, and no decision.
            trusted_keys: files in PEM with keys or certificates by which the bundle must be
                signed (`ckd.runtime.signed`); None for those that CKD_TRUSTED_KEYS names.

        Engines that were built on this machine first repeat the bundle's acceptance cases, see
        `ckd.runtime.proving`.

        Raises:
            BundleError: the bundle is incomplete, altered or not understood, or not signed by a
                key that is trusted.
            EnvironmentUnusable: no backend is installed, or there is no usable GPU; or there are
                keys, and nothing that checks signatures.
            EngineError: a network cannot be loaded.
            GateFailed: engines that were built on this machine failed the acceptance cases.
            UsageError: a name is unknown, a prevalence impossible, or the bundle lacks the
                precision.
        """
        opened = open_bundle(bundle, trusted_keys)
        return cls.of(opened, backend, device, precision, num_threads, operating_point, prevalence)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        num_threads: int | None = None,
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
    ) -> "Cascade":
        """Load a bundle that is open already; arguments and errors as of `load`."""
        chosen = "fp32" if precision == "auto" else precision

        def load(name: str, device: str) -> "Cascade":
            cascade = cls(
                bundle, open_backend(name, device, num_threads), chosen, operating_point, prevalence
            )
            try:
                _prove(cascade.chain, bundle)
            except BaseException:
                cascade.close()
                raise
            return cascade

        place = chosen_device(backend, device)
        if backend != "auto":
            return load(backend, place)
        if place != "cpu":
            try:
                return load(backend, place)
            except (EngineError, EnvironmentUnusable, UsageError) as error:
                if device != "auto":
                    raise
                # A failure is a warning; a GPU that is not meant for this, or lacks bf16, is none.
                level = logging.WARNING if isinstance(error, EngineError) else logging.INFO
                _log.log(level, "%s; taking the CPU", error)
        measure = partial(networks_ms, bundle, chosen, num_threads)
        return load(fastest_backend(bundle.digest(), chosen, num_threads, measure), "cpu")

    def warmup(self, runs: int = 2) -> None:
        """Run on a grey image with a spot: what is made when first needed slows no real one."""
        side = self.spec.image_size
        grey = np.full((side, side, 3), 160, np.uint8)
        grey[side // 3 : side // 2, side // 3 : side // 2] = 60
        for _ in range(runs):
            self.predict(grey)

    def predict(
        self,
        image: NDArray[np.uint8] | Path | str | DeviceArray,
        *,
        deadline_ms: float | None = None,
    ) -> Finding:
        """Analyse one image.

        Args:
            image: uint8 RGB [H, W, 3] (OpenCV gives BGR: reverse the last axis), or a file; with a
                GPU also an array in its memory, see `run_device`. Of that one the logits are copied
                to the host, and what the networks saw, to tell a blank picture.
            deadline_ms: from now, reading a file not counted. Parts of the answer for which there
                is no time are left out (`ckd.runtime.deadline`); the finding says which, and by how
                much it is late all the same. An array in a GPU's memory is analysed whole.

        Raises:
            InputError: the file or array is not an image that can be analysed.
            EngineError: an engine failed, or gave infinity or no number (`NotFinite`).
            UsageError: the deadline is no time.
        """
        _check_deadline(deadline_ms)
        on_host = isinstance(image, _ON_HOST)
        runner = self.chain.runner
        if isinstance(runner, DeviceRunner) and not on_host:
            finding = self._predict_device(runner, cast(DeviceArray, image))
            return _timed(finding, deadline_ms)
        return self._begun(network_input(image, self.spec.image_size), deadline_ms)()

    def begin(
        self, image_HWC: NDArray[np.uint8], *, deadline_ms: float | None = None
    ) -> Callable[[], Finding]:
        """Run the networks on an image, and give what makes its finding, to be called once.

        That may be done in another thread, while the networks run on the next image; `predict`
        does both, one after the other. A journal hears of the image when its finding is made.

        Args:
            image_HWC: uint8 RGB, which must stay as it is until then.
            deadline_ms: as in `predict`.

        Raises:
            InputError: the array is not an image that can be analysed.
            EngineError: an engine failed; `NotFinite` is raised where the finding is made.
            UsageError: the deadline is no time.
        """
        _check_deadline(deadline_ms)
        taken = network_input(image_HWC, self.spec.image_size)
        make = self._begun(taken, deadline_ms)

        def finding() -> Finding:
            taken.watch.lap("waiting")  # a step of its own, as no hurry makes it shorter
            return make()

        return finding

    def analyse_input(
        self,
        image_SS3: NDArray[np.uint8],
        size_hw: tuple[int, int],
        left_out: Sequence[str] = (),
    ) -> Finding:
        """Analyse what the networks saw of an image, uint8 RGB of their size: journals hold it.

        The finding is that of the image, whose rows and columns are ``size_hw``. Parts in
        ``left_out`` are left out, as in the finding that a deadline cut short.

        Raises:
            EngineError: as `predict`; also for an array of another shape or type.
            UsageError: such parts cannot be left out of this cascade.
        """
        taken = NetworkInput(image_SS3, size_hw)
        if not left_out:
            return self._begun(taken)()
        outputs = self._hurry.run_without(image_SS3, taken.watch, left_out)
        return self._finding(self._copied(outputs, taken, tuple(left_out)), taken)

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Finding]:
        """The findings of images, in order; each image is taken when the iterator is advanced.

        On a GPU frames overlap: the next image is taken and prepared before a finding is given.
        This suits files; for a camera `predict` is better, which gives each finding a frame
        earlier. Whatever ``images`` or an engine raises comes after the findings of the images
        before, except what is no `Exception`, such as `KeyboardInterrupt`.

        Raises:
            InputError: an image cannot be analysed.
            EngineError: an engine failed.
        """
        runner = self.chain.runner
        if isinstance(runner, DeviceRunner) and not (self.listener and self.listener.every_tensor):
            taken = overlapped(runner, images, self.spec.image_size)
            return (self._finding(self._copied(*one), one[1]) for one in taken)
        return map(self.predict, images)

    def run_device(self, image: object) -> Mapping[str, DeviceBuffer]:
        """The logits of an image in the GPU's memory, where they stay too.

        Args:
            image: an array of PyCUDA, CuPy, Numba or torch (anything with DLPack or
                ``__cuda_array_interface__``), uint8 RGB [H, W, 3], contiguous. An image of another
                size than the networks' is resized on the GPU, which needs NVRTC.

        Returns:
            Buffers by tensor name (see ``spec.outputs``), which those libraries can read in the
            same way. They are the cascade's own memory: the next run overwrites them, and `close`
            releases them. Work that reads them in another stream must have ended before that.

        Raises:
            InputError: the image is no such array, or is on another device.
            EnvironmentUnusable: the image has to be resized, and NVRTC is not installed.
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

    def _begun(
        self, taken: NetworkInput, deadline_ms: float | None = None
    ) -> Callable[[], Finding]:
        while self._finished:  # learnt here, as findings may be made in another thread
            self._hurry.learn(self._finished.popleft())
        left_out: tuple[str, ...] = ()
        if deadline_ms is None:
            outputs = self.chain.run(taken.image_SS3, taken.watch.lap)
        else:
            outputs, left_out = self._hurry.run(taken.image_SS3, taken.watch, deadline_ms)
        analysed = self._copied(outputs, taken, left_out)

        def finding() -> Finding:
            made = self._finding(analysed, taken)
            self._finished.append(taken.watch)
            return _timed(made, deadline_ms)

        return finding

    def _predict_device(self, runner: DeviceRunner, image: DeviceArray) -> Finding:
        watch = Stopwatch()
        logits = runner.run_from_device(image)
        watch.lap("networks")
        # What the networks saw, copied to the host: a hundred kilobytes.
        seen_SS3 = np.asarray(self.chain.buffers[IMAGE].read()[0], np.uint8)
        height, width = map(int, image.shape[:2])
        taken = NetworkInput(seen_SS3, (height, width), watch)
        return self._finding(self._copied(logits, taken), taken)

    def _copied(
        self, outputs: Outputs, taken: NetworkInput, left_out: tuple[str, ...] = ()
    ) -> Analysed:
        """What the networks saw and gave, before the next run overwrites it."""
        tensors: Outputs = {}
        if self.listener is not None and self.listener.every_tensor:
            written = self._written(left_out)
            tensors = {name: buffer.read().copy() for name, buffer in written.items()}
        copies = {name: values.copy() for name, values in outputs.items()}
        return Analysed(taken.image_SS3, taken.size_hw, copies, tensors, left_out)

    def _finding(self, analysed: Analysed, taken: NetworkInput) -> Finding:
        if self.listener is not None:
            self.listener.told(analysed)
        finding = self._finder(
            analysed.outputs, analysed.size_hw, analysed.image_SS3, analysed.left_out
        )
        taken.watch.lap("postprocess")
        if self.judge is not None and taken.image_HWC is not None:
            finding = self.judge.judged(taken.image_HWC, finding)
            taken.watch.lap("capture")
        return replace(finding, timings_ms=taken.watch.timings_ms())

    def _written(self, left_out: tuple[str, ...]) -> Mapping[str, DeviceBuffer]:
        """The buffers that belong to this image, and not to one before."""
        if not left_out:
            return self.chain.buffers
        written = {IMAGE, *self._hurry.written_by(left_out)}
        return {name: buffer for name, buffer in self.chain.buffers.items() if name in written}


def _check_deadline(deadline_ms: float | None) -> None:
    if deadline_ms is not None and not is_time(deadline_ms):
        raise UsageError(f"deadline_ms: {deadline_ms!r}, expected a number above 0 and up to 1e9")


def _timed(finding: Finding, deadline_ms: float | None) -> Finding:
    """The finding, which says by how much it is late."""
    if deadline_ms is None:
        return finding
    return replace(finding, late_ms=max(0.0, finding.timings_ms["total"] - deadline_ms))


def _prove(chain: Chain, bundle: Bundle) -> None:
    """Have engines that were built on this machine repeat the bundle's acceptance cases."""
    if isinstance(chain.backend, EngineBuilder):
        from ckd.runtime.proving import certify  # many devices build nothing

        certify(chain, bundle)
