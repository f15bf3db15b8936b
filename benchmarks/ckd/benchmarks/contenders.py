"""The contenders of a latency measurement, and proof that they run the same networks.

Every one is a callable for a single turn: the chain as an application calls it, or all networks in
one call between the same resize and the same masks.

Suffixes: H rows, W columns of the frame; C channels in RGB order; S side of the network's input.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.benchmarks.report import Kind
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE
from ckd.finding.answers import answers_from_logits
from ckd.finding.finding import Finding
from ckd.picture.resize import network_image
from ckd.runtime.backends.selection import installed, open_backend
from ckd.runtime.cascade import Cascade

#: Contenders whose logits differ by more than this part of the largest are not the same networks.
SAME_NETWORKS: Final[Mapping[str, float]] = {
    "fp32": 0.05,
    "fp16": 0.25,
    "bf16": 0.25,
    "int8": 0.5,
    "int8-bf16": 0.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSetting:
    """How the chain is run: see `Cascade.load`."""

    backend: str = "onnxruntime"
    device: str = "cpu"
    precision: str = "fp32"
    threads: int

    def load(self, bundle: Path | str) -> Cascade:
        """The cascade, ready to run."""
        return Cascade.load(bundle, self.backend, self.device, self.precision, self.threads)


_FP16_EMULATED: Final = ("onnxruntime", "fp16")

#: From the resized image to the system's results by name.
Infer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]


def frame() -> NDArray[np.uint8]:
    """A generated dermoscopy frame, uint8 RGB [1080, 1920, 3], with the detail of a real one."""
    from ckd.data.synthetic.write import dermoscopy  # needs no torch

    return np.ascontiguousarray(dermoscopy(seed=7, side_px=1920).image_HWC[420:1500])


def write_jpeg(image_HWC: NDArray[np.uint8], path: Path) -> Path:
    """Save an image as a camera would: JPEG, quality 92, colour at half resolution."""
    Image.fromarray(image_HWC).save(path, quality=92, subsampling="4:2:0")
    return path


class Chain:
    """The cascade as an application calls it, on an array or on a file."""

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
        """Every result of the last call, by name."""
        names = self.cascade.spec.outputs.names()
        return {name: self.cascade.chain.buffers[name].read().copy() for name in names}


class Whole:
    """All networks in one call, between the same resize and the same masks as the chain's."""

    def __init__(self, infer: Infer, spec: CascadeSpec, frame_HWC: NDArray[np.uint8]) -> None:
        self.infer, self.spec, self.frame_HWC = infer, spec, frame_HWC
        self.networks_ms: list[float] = []
        self.tensors: Mapping[str, NDArray[Any]] = {}

    def __call__(self) -> None:
        """One turn."""
        self.predict(self.frame_HWC)

    def predict(self, image_HWC: NDArray[np.uint8]) -> Finding:
        """As `Cascade.predict`, without its figures of quality."""
        image_SSC = network_image(image_HWC, self.spec.image_size)
        start = time.perf_counter()
        self.tensors = self.infer(image_SSC)
        self.networks_ms.append(1e3 * (time.perf_counter() - start))
        answers = answers_from_logits(self.spec, self.tensors, *image_HWC.shape[:2])
        return Finding(
            mask_HW=answers.mask_HW,
            coarse_mask_HW=answers.coarse_mask_HW,
            probabilities=answers.probabilities,
            exclusive=self.spec.outputs.exclusive,
            class_maps=answers.class_maps,
            quality={},
            timings_ms={"total": self.networks_ms[-1]},
            bundle=self.spec.name,
            backend="",
            precision="",
        )

    def logits(self) -> Mapping[str, NDArray[Any]]:
        """Every result of the last call, by name."""
        return self.tensors


def cpu_cascades(bundle: Bundle, threads: int, stack: contextlib.ExitStack) -> dict[str, Cascade]:
    """The bundle on every installed CPU backend in every precision it has, by "backend PRECISION".

    FP16 on ONNX Runtime is left out: its CPU kernels compute in FP32 and only convert more.
    """
    ways = {}
    for name in installed():
        backend = open_backend(name, "cpu", threads)
        for precision, files in backend.precisions.items():
            if files in bundle.spec.file_kinds() and (name, precision) != _FP16_EMULATED:
                cascade = Cascade(bundle, backend, precision)
                ways[f"{name} {precision.upper()}"] = stack.enter_context(cascade)
    return ways


def open_contender(
    kind: Kind, source: Path, spec: CascadeSpec, threads: int, stack: contextlib.ExitStack
) -> Infer:
    """All networks of ``source`` in one call; `EnvironmentUnusable` without their library."""
    try:
        if kind == "fused":
            return _open_fused(source, spec, threads)
        return _open_pytorch(source, spec, threads, stack)
    except ImportError as error:
        raise EnvironmentUnusable(
            f"{error.name} is not installed; this comparison needs `pip install '.[export]'` "
            "in the folder of this project"
        ) from error


def _open_fused(path: Path, spec: CascadeSpec, threads: int) -> Infer:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Its threads spin while it runs, as they do by default, and sleep during the others' turns.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = list(spec.outputs.names())
    if missing := set(names) - {value.name for value in session.get_outputs()}:
        raise UsageError(f"{path.name} has no output {', '.join(sorted(missing))}")

    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {IMAGE: image_SSC[None]}), strict=True))

    return infer


def _open_pytorch(run: Path, spec: CascadeSpec, threads: int, stack: contextlib.ExitStack) -> Infer:
    import torch

    from ckd.train.fitting.run_folder import load_run
    from ckd.train.systems.rewrite import explained

    _, system = load_run(run)
    if spec.outputs.class_map is not None:
        system = explained(system)
    system.to(memory_format=torch.channels_last)  # as in training; the faster one for MobileNetV2
    if (system.labels, system.image_size) != (spec.labels, spec.image_size):
        raise UsageError(
            f"{run} has classes {', '.join(system.labels)} at {system.image_size} px; "
            f"the bundle has {', '.join(spec.labels)} at {spec.image_size} px"
        )
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(threads)
    names = spec.outputs.names()

    @torch.inference_mode()
    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        tensors = system(torch.from_numpy(image_SSC)[None])
        return {name: tensors[name].numpy() for name in names}

    return infer


def logit_error(given: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    """The largest difference, as a part of the largest expected logit of its tensor."""
    return max(
        float(np.abs(given[name] - logits).max() / max(np.abs(logits).max(), 1e-6))
        for name, logits in expected.items()
    )


def compare(racing: Mapping[Kind, Chain | Whole], precision: str) -> dict[Kind, float]:
    """Run each once; `UsageError` if the answers show that the networks are not the same."""
    errors: dict[Kind, float] = {}
    for kind, step in racing.items():
        step()
        given = step.logits()
        if kind == "chain":
            expected = given
        if kind == "jpeg":  # another image, if only a little
            continue
        errors[kind] = logit_error(given, expected)
        if not errors[kind] <= SAME_NETWORKS[precision]:  # also where it is not a number
            raise UsageError(
                f"{kind}: logits differ from the bundle's by {errors[kind]:.2g} of the largest; "
                "give the run that the bundle was exported from"
            )
    return errors
