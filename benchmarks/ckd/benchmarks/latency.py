"""How long the chain takes for one image, against one fused graph and against PyTorch.

Every contender is given the same 1920x1080 frame on the same machine in the same run, with the same
number of threads, the same resize before its networks and the same masks at frame size after them.
Two times are taken of each call: of the networks alone, and of the whole frame.

Suffixes: H rows, W columns of the frame; C channels in RGB order; S side of the network's input.
"""

import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.benchmarks.machine import activity, conditions, machine
from ckd.benchmarks.measure import (
    Latency,
    Progress,
    Ratio,
    fresh_process,
    interleaved,
    latency_from_samples,
    paired_ratio,
    peak_memory_mb,
)
from ckd.benchmarks.report import Contender, Kind, LatencyReport, Memory, Startup
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.contract.manifest import IMAGE, Manifest
from ckd.contract.preprocess import mask_from_logits, network_image, softmax
from ckd.runtime.backends import usable_cores
from ckd.runtime.cascade import Cascade, embedded_bundle

#: Contenders whose logits differ by more than this part of the largest are not the same networks.
SAME_NETWORKS: Final = 0.05

#: From the resized image to the system's results by name.
Infer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]

#: What is imported before a contender can load its networks.
_LIBRARIES: Final[Mapping[Kind, str]] = {
    "chain": "ckd.runtime.backends.onnxruntime",
    "fused": "onnxruntime",
    "pytorch": "ckd.train.fit",
}


def latency(
    bundle: Path | None = None,
    *,
    run: Path | None = None,
    fused: Path | None = None,
    threads: int | None = None,
    warmup: int = 10,
    runs: int = 100,
    weights: str = "as in the bundle",
    command: str = "",
    progress: Progress | None = None,
) -> LatencyReport:
    """Measure a bundle on the CPU, against whatever else is given of the same networks.

    Args:
        bundle: folder or zip file; None takes the one that comes with `ckd`.
        run: folder of `ckd-train fit`; adds PyTorch.
        fused: ONNX file of the whole cascade: image in, the bundle's results out; adds it.
        threads: of every contender; all available cores by default.
        warmup: turns that do not count.
        runs: turns that count.
        weights: what to say of the weights in the report.
        command: to be quoted in the report.
        progress: told after every call.

    Raises:
        UsageError: the contenders do not run the same networks.
        EnvironmentUnusable: a contender's library is not installed.
    """
    threads = threads or usable_cores()
    before = activity()
    path = embedded_bundle() if bundle is None else bundle
    sources: dict[Kind, Path] = {"chain": path}
    sources |= {"fused": fused} if fused is not None else {}
    sources |= {"pytorch": run} if run is not None else {}
    frame_HWC = frame()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(threads)
        cascade = stack.enter_context(Cascade.load(path, num_threads=threads))
        chain = _Chain(cascade, frame_HWC)
        racing: dict[Kind, _Chain | _Whole] = {
            "chain": chain,
            "jpeg": _Chain(cascade, write_jpeg(frame_HWC, folder / "frame.jpg")),
        }
        for kind, source in sources.items():
            if kind != "chain":
                infer = _open(kind, source, cascade.manifest, threads, stack)
                racing[kind] = _Whole(infer, cascade.manifest, frame_HWC)
        errors = _compare(racing)
        frame_ms = interleaved(racing, warmup=warmup, runs=runs, progress=progress)

    networks_ms = {kind: np.array(racing[kind].networks_ms[-runs:]) for kind in sources}
    laps = chain.laps_ms[-runs:]
    return LatencyReport(
        bundle=cascade.bundle_id,
        weights=weights,
        image_size=cascade.manifest.image_size,
        backend=cascade.backend.name,
        precision=cascade.precision,
        threads=threads,
        contenders=tuple(
            Contender(
                kind=kind,
                networks=_latency(networks_ms.get(kind), warmup),
                frame=latency_from_samples(frame_ms[kind], warmup),
                networks_speedup=_ratio(networks_ms.get("pytorch"), networks_ms.get(kind)),
                frame_speedup=_ratio(frame_ms.get("pytorch"), frame_ms[kind]),
                memory=_memory(kind, sources[kind], path, threads) if kind in sources else None,
                logit_error=errors.get(kind),
            )
            for kind in racing
        ),
        steps={
            step: latency_from_samples([lap[step] for lap in laps], warmup)
            for step in laps[0]
            if step != "total"
        },
        overhead=latency_from_samples(frame_ms["chain"] - networks_ms["chain"], warmup),
        fused_ratio=_ratio(networks_ms.get("fused"), networks_ms["chain"]),
        startup=(),
        machine=machine(),
        conditions=conditions(before, activity(), command),
    )


def startup(
    bundle: Path | None = None, *, threads: int | None = None, runs: int = 5
) -> tuple[Startup, ...]:
    """What a fresh process costs: the bare interpreter, the import, one image by `ckd-run`."""
    frame_HWC = frame()
    with tempfile.TemporaryDirectory() as name:
        jpeg = write_jpeg(frame_HWC, Path(name) / "frame.jpg")
        run_image = ["-m", "ckd.runtime.cli", "image", str(jpeg), "--out", f"{name}/results"]
        run_image += ["--bundle", str(bundle)] if bundle is not None else []
        run_image += ["--threads", str(threads)] if threads is not None else []
        commands = {
            "`python -c pass`": ["-c", "pass"],
            "`import ckd.runtime`": ["-c", "import ckd.runtime"],
            "`ckd-run image`, one frame": run_image,
        }
        taken_ms: dict[str, list[float]] = {what: [] for what in commands}
        peaks_mb = dict.fromkeys(commands, 0.0)
        for turn in range(1 + runs):  # the first one fills the page cache
            for what, arguments in commands.items():
                use = fresh_process([sys.executable, *arguments])
                peaks_mb[what] = max(peaks_mb[what], use.peak_mb)
                if turn:
                    taken_ms[what].append(use.wall_ms)
    return tuple(
        Startup(what, latency_from_samples(samples_ms, 1), peaks_mb[what])
        for what, samples_ms in taken_ms.items()
    )


def frame() -> NDArray[np.uint8]:
    """A generated dermoscopy frame, uint8 RGB [1080, 1920, 3], with the detail of a real one."""
    from ckd.train.data.synthetic import dermoscopy  # needs no torch

    return np.ascontiguousarray(dermoscopy(seed=7, side_px=1920).image_HWC[420:1500])


def write_jpeg(image_HWC: NDArray[np.uint8], path: Path) -> Path:
    """Save an image as a camera would: JPEG, quality 92, colour at half resolution."""
    Image.fromarray(image_HWC).save(path, quality=92, subsampling="4:2:0")
    return path


def print_memory(kind: Kind, source: str, bundle: str, threads: str) -> None:
    """The child's side of `_memory`: run one contender a few times and print what it took."""
    importlib.import_module(_LIBRARIES[kind])
    libraries_mb = peak_memory_mb()
    frame_HWC = np.full((1080, 1920, 3), 128, np.uint8)
    with contextlib.ExitStack() as stack:
        step: _Chain | _Whole
        if kind == "chain":
            cascade = stack.enter_context(Cascade.load(bundle, num_threads=int(threads)))
            step = _Chain(cascade, frame_HWC)
        else:
            manifest = Bundle(Path(bundle)).manifest
            infer = _open(kind, Path(source), manifest, int(threads), stack)
            step = _Whole(infer, manifest, frame_HWC)
        for _ in range(3):
            step()
    print(json.dumps([libraries_mb, peak_memory_mb()]))


def _memory(kind: Kind, source: Path, bundle: Path, threads: int) -> Memory:
    code = "import sys; from ckd.benchmarks.latency import print_memory as p; p(*sys.argv[1:])"
    arguments = [kind, str(source), str(bundle), str(threads)]
    return Memory(*json.loads(fresh_process([sys.executable, "-c", code, *arguments]).output))


class _Chain:
    """The cascade as an application calls it, on an array or on a file."""

    def __init__(self, cascade: Cascade, image: NDArray[np.uint8] | Path) -> None:
        self.cascade, self.image = cascade, image
        self.laps_ms: list[Mapping[str, float]] = []
        self.networks_ms: list[float] = []

    def __call__(self) -> None:
        finding = self.cascade.predict(self.image)
        self.laps_ms.append(finding.timings_ms)
        self.networks_ms.append(sum(finding.timings_ms[node] for node in self.cascade.engines))

    def logits(self) -> Mapping[str, NDArray[Any]]:
        """Every result of the last call, by name."""
        names = self.cascade.manifest.results.names()
        return {name: self.cascade.buffers[name].read().copy() for name in names}


class _Whole:
    """All networks in one call, between the same resize and the same masks as the chain's."""

    def __init__(self, infer: Infer, manifest: Manifest, frame_HWC: NDArray[np.uint8]) -> None:
        self.infer, self.manifest, self.frame_HWC = infer, manifest, frame_HWC
        self.networks_ms: list[float] = []
        self.tensors: Mapping[str, NDArray[Any]] = {}

    def __call__(self) -> None:
        image_SSC = network_image(self.frame_HWC, self.manifest.image_size)
        start = time.perf_counter()
        self.tensors = self.infer(image_SSC)
        self.networks_ms.append(1e3 * (time.perf_counter() - start))
        results, (height, width) = self.manifest.results, self.frame_HWC.shape[:2]
        threshold = self.manifest.thresholds.get("mask", 0.5)
        if results.class_logits is not None:
            softmax(self.tensors[results.class_logits][0])
        side = self.manifest.image_size
        for name, aligned_to_px in (
            (results.mask_logits, None),
            (results.coarse_logits, side if results.coarse_align_corners else None),
        ):
            if name is not None:
                logits_hw = self.tensors[name][0, 0]
                mask_from_logits(
                    logits_hw, height, width, threshold=threshold, aligned_to_px=aligned_to_px
                )

    def logits(self) -> Mapping[str, NDArray[Any]]:
        """Every result of the last call, by name."""
        return self.tensors


def _open(
    kind: Kind, source: Path, manifest: Manifest, threads: int, stack: contextlib.ExitStack
) -> Infer:
    try:
        if kind == "fused":
            return _open_fused(source, manifest, threads)
        return _open_pytorch(source, manifest, threads, stack)
    except ImportError as error:
        raise EnvironmentUnusable(
            f"{error.name} is not installed; this comparison needs `pip install 'ckd[export]'`"
        ) from error


def _open_fused(path: Path, manifest: Manifest, threads: int) -> Infer:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Its threads spin while it runs, as they do by default, and sleep during the others' turns.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = list(manifest.results.names())
    if missing := set(names) - {value.name for value in session.get_outputs()}:
        raise UsageError(f"{path.name} has no output {', '.join(sorted(missing))}")

    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {IMAGE: image_SSC[None]}), strict=True))

    return infer


def _open_pytorch(
    run: Path, manifest: Manifest, threads: int, stack: contextlib.ExitStack
) -> Infer:
    import torch

    from ckd.train.run_folder import load_run

    _, system = load_run(run)
    if (system.labels, system.image_size) != (manifest.labels, manifest.image_size):
        raise UsageError(
            f"{run} has classes {', '.join(system.labels)} at {system.image_size} px; "
            f"the bundle has {', '.join(manifest.labels)} at {manifest.image_size} px"
        )
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(threads)
    names = manifest.results.names()

    @torch.inference_mode()
    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        tensors = system(torch.from_numpy(image_SSC)[None])
        return {name: tensors[name].numpy() for name in names}

    return infer


def _compare(racing: Mapping[Kind, _Chain | _Whole]) -> dict[Kind, float]:
    """Run each once; `UsageError` if the answers show that the networks are not the same."""
    errors: dict[Kind, float] = {}
    for kind, step in racing.items():
        step()
        given = step.logits()
        if kind == "chain":
            expected = given
        if kind == "jpeg":  # another image, if only a little
            continue
        errors[kind] = max(
            float(np.abs(given[name] - logits).max() / max(np.abs(logits).max(), 1e-6))
            for name, logits in expected.items()
        )
        if not errors[kind] <= SAME_NETWORKS:  # also where it is not a number
            raise UsageError(
                f"{kind}: logits differ from the bundle's by {errors[kind]:.2g} of the largest; "
                "give the run that the bundle was exported from"
            )
    return errors


def _latency(samples_ms: NDArray[np.float64] | None, warmup: int) -> Latency | None:
    return None if samples_ms is None else latency_from_samples(samples_ms, warmup)


def _ratio(
    above_ms: NDArray[np.float64] | None, below_ms: NDArray[np.float64] | None
) -> Ratio | None:
    return None if above_ms is None or below_ms is None else paired_ratio(above_ms, below_ms)
