"""Every way to run one system on this CPU, in turn in one run: how fast, and what it loses.

Entrants are the bundle on every installed backend in every precision that it has, PyTorch, and what
an engineer would build by hand: one graph of the whole cascade as PyTorch exports it, on ONNX
Runtime, and quantised by NNCF with its default settings on OpenVINO.

Suffixes: S side of the network's input.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.contenders import (
    SAME_NETWORKS,
    Chain,
    Infer,
    Whole,
    cpu_cascades,
    frame,
    logit_error,
    open_contender,
)
from ckd.benchmarks.machine import Conditions, Machine, activity, conditions, machine
from ckd.benchmarks.measure import (
    Latency,
    Progress,
    Ratio,
    interleaved,
    latency_from_samples,
    paired_ratio,
)
from ckd.calibration.cost import Cost, answer, cost_of, groups_of
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE
from ckd.data.samples import SampleSet, numbered_as
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime.backends.selection import installed

#: What all others are measured against, in time and in accuracy.
REFERENCE = "PyTorch eager FP32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """How one way did.

    Attributes:
        networks: from the resized image to the logits.
        frame: from a 1920x1080 frame to masks and probabilities.
        networks_speedup: how many times it goes into PyTorch's time, turn by turn.
        cost: against PyTorch on the data set; None where none was given.
    """

    name: str
    networks: Latency
    frame: Latency
    networks_speedup: Ratio
    frame_speedup: Ratio
    cost: Cost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of them, on one machine in one run; the first is PyTorch."""

    bundle: str
    weights: str
    data: str | None
    threads: int
    entrants: tuple[Entrant, ...]
    machine: Machine
    conditions: Conditions


def compare(
    bundle: Path,
    run: Path,
    fused: Path,
    *,
    threads: int,
    warmup: int,
    runs: int,
    weights: str,
    command: str,
    calibration: Sequence[Path] = (),
    samples: SampleSet | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measure them all.

    Args:
        bundle: of the run, with whatever precisions it has.
        run: folder of `ckd-train fit`.
        fused: ONNX file of the whole cascade, without our folds.
        threads: of every entrant.
        warmup: turns that do not count.
        runs: turns that count.
        weights: what to say of the weights.
        command: to be quoted.
        calibration: images for NNCF to quantise by; it is left out without, or if not installed.
        samples: images with truth, to tell the accuracy that is lost.
        progress: told after every call.

    Raises:
        UsageError: the entrants do not run the same networks.
    """
    before = activity()
    opened = Bundle(bundle)
    frame_HWC = frame()
    with contextlib.ExitStack() as stack:
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(threads)
        racing = _open_all(opened, run, fused, threads, calibration, frame_HWC, stack)
        _check_same(racing)
        costs = {} if samples is None else _costs(racing, samples, opened.spec)
        frame_ms = interleaved(racing, warmup=warmup, runs=runs, progress=progress)
    networks_ms = {name: np.array(step.networks_ms[-runs:]) for name, step in racing.items()}
    return Comparison(
        bundle=f"{opened.spec.name}@{opened.digest()[:12]}",
        weights=weights,
        data=None if samples is None else f"{len(samples)} images of {samples.name}",
        threads=threads,
        entrants=tuple(
            Entrant(
                name=name,
                networks=latency_from_samples(networks_ms[name], warmup),
                frame=latency_from_samples(frame_ms[name], warmup),
                networks_speedup=paired_ratio(networks_ms[REFERENCE], networks_ms[name]),
                frame_speedup=paired_ratio(frame_ms[REFERENCE], frame_ms[name]),
                cost=costs.get(name),
            )
            for name in racing
        ),
        machine=machine(),
        conditions=conditions(before, activity(), command),
    )


def _open_all(
    bundle: Bundle,
    run: Path,
    fused: Path,
    threads: int,
    calibration: Sequence[Path],
    frame_HWC: NDArray[np.uint8],
    stack: contextlib.ExitStack,
) -> dict[str, Chain | Whole]:
    spec = bundle.spec
    pytorch = open_contender("pytorch", run, spec, threads, stack)
    onnxruntime = open_contender("fused", fused, spec, threads, stack)
    racing: dict[str, Chain | Whole] = {
        REFERENCE: Whole(pytorch, spec, frame_HWC),
        "ONNX Runtime, fused graph FP32": Whole(onnxruntime, spec, frame_HWC),
    }
    if "openvino" in installed() and calibration and find_spec("nncf"):
        peer = open_nncf(fused, spec, threads, calibration)
        racing["OpenVINO, fused graph by NNCF INT8"] = Whole(peer, spec, frame_HWC)
    for way, cascade in cpu_cascades(bundle, threads, stack).items():
        racing[f"ckd, {way}"] = Chain(cascade, frame_HWC)
    return racing


def open_nncf(fused: Path, spec: CascadeSpec, threads: int, calibration: Sequence[Path]) -> Infer:
    """The fused graph, quantised by NNCF with default settings and run by OpenVINO."""
    import nncf
    import openvino as ov

    images = [network_image(read_rgb(path), spec.image_size) for path in calibration]
    core = ov.Core()
    with contextlib.redirect_stdout(sys.stderr):  # it draws its progress there
        model = nncf.quantize(
            core.read_model(fused), nncf.Dataset(images, lambda image_SSC: {IMAGE: image_SSC[None]})
        )
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(model, "CPU", settings)
    names = spec.outputs.names()

    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        found = compiled({IMAGE: image_SSC[None]})
        return {name: found[name] for name in names}

    return infer


def _check_same(racing: Mapping[str, Chain | Whole]) -> None:
    """Run each once; `UsageError` if one in FP32 answers so that it must be another network."""
    expected: Mapping[str, NDArray[Any]] = {}
    for name, step in racing.items():
        step()
        given = step.logits()
        expected = expected or {key: values.copy() for key, values in given.items()}
        error = logit_error(given, expected)
        if name.endswith("FP32") and not error <= SAME_NETWORKS["fp32"]:
            raise UsageError(
                f"{name}: logits differ from PyTorch's by {error:.2g} of the largest; give "
                "the run that the bundle was exported from"
            )


def _costs(
    racing: Mapping[str, Chain | Whole], samples: SampleSet, spec: CascadeSpec
) -> dict[str, Cost]:
    samples = numbered_as(spec.labels, samples, exclusive=spec.outputs.exclusive)
    groups = groups_of(samples)
    given = {
        name: answer(step.predict if isinstance(step, Whole) else step.cascade.predict, samples)
        for name, step in racing.items()
    }
    return {
        name: cost_of(found, given[REFERENCE], samples, spec, groups)
        for name, found in given.items()
    }
