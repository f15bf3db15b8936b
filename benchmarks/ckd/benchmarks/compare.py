"""Every way to run one system on this CPU, in turn in one run: how fast, and what it loses.

Entrants are the bundle on every installed backend in every precision that it has, PyTorch, and what
an engineer would build by hand: one graph of the whole cascade as PyTorch exports it, on ONNX
Runtime, and quantised by NNCF with its default settings on OpenVINO.

Suffixes: H rows, W columns of the frame; C channels in RGB order.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.contenders import CascadeContender, SystemContender, cpu_cascades, frame
from ckd.benchmarks.machine import Conditions, Machine, activity, conditions, machine
from ckd.benchmarks.measure import (
    Latency,
    Ratio,
    interleaved,
    latency_from_samples,
    paired_ratio,
)
from ckd.benchmarks.peers import open_nncf, open_peer
from ckd.benchmarks.same_networks import SAME_NETWORKS, logit_error
from ckd.calibration.cost import Cost, answer, cost_of, groups_of
from ckd.console import Progress
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.spec import CascadeSpec
from ckd.data.samples import SampleSet, numbered_as
from ckd.runtime.backends.selection import installed

#: The entrant that all others are measured against, in time and in accuracy.
REFERENCE = "PyTorch eager FP32"
#: INT8 as one has it without this project: all networks in one graph, NNCF's default settings.
NNCF = "OpenVINO, fused graph by NNCF INT8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """The figures of one way to run the system.

    Attributes:
        networks: from the resized image to the logits.
        frame: from a 1920x1080 frame to masks and probabilities.
        networks_speedup: PyTorch's time over the entrant's, turn by turn.
        frame_speedup: likewise.
        cost: against PyTorch on the data set; None without a data set.
        nncf_speedup: NNCF's time over the entrant's, networks alone; None of entrants that are not
            in INT8, or without NNCF.
    """

    name: str
    networks: Latency
    frame: Latency
    networks_speedup: Ratio
    frame_speedup: Ratio
    cost: Cost | None
    nncf_speedup: Ratio | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All entrants, on one machine in one run; the first is PyTorch."""

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
    """Measure all entrants.

    Args:
        bundle: of the run, with whatever precisions it has.
        run: folder of `ckd-train fit`.
        fused: ONNX file of the whole cascade, without our folds.
        threads: of every entrant.
        warmup: turns that do not count.
        runs: turns that count.
        weights: what the report says of the weights.
        command: to be quoted.
        calibration: images for NNCF to quantise by; it is left out if there are none, or if it is
            not installed.
        samples: images with truth, on which the loss of accuracy is measured.
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
        check_entrants(racing)
        costs = {} if samples is None else _costs(racing, samples, opened.spec)
        frame_ms = interleaved(racing, warmup=warmup, runs=runs, progress=progress)
    networks_ms = {name: np.array(step.networks_ms[-runs:]) for name, step in racing.items()}
    return Comparison(
        bundle=opened.id,
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
                nncf_speedup=paired_ratio(networks_ms[NNCF], networks_ms[name])
                if NNCF in racing and "INT8" in name
                else None,
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
) -> dict[str, CascadeContender | SystemContender]:
    spec = bundle.spec
    pytorch = open_peer("pytorch", run, spec, threads, stack)
    onnxruntime = open_peer("fused", fused, spec, threads, stack)
    racing: dict[str, CascadeContender | SystemContender] = {
        REFERENCE: SystemContender(pytorch, bundle, frame_HWC),
        "ONNX Runtime, fused graph FP32": SystemContender(onnxruntime, bundle, frame_HWC),
    }
    if "openvino" in installed() and calibration and find_spec("nncf"):
        peer = open_nncf(fused, spec, threads, calibration)
        racing[NNCF] = SystemContender(peer, bundle, frame_HWC)
    for name, cascade in cpu_cascades(bundle, threads, stack).items():
        racing[f"ckd, {name}"] = CascadeContender(cascade, frame_HWC)
    return racing


def check_entrants(racing: Mapping[str, CascadeContender | SystemContender]) -> None:
    """Run each once, the reference first.

    Raises:
        UsageError: the logits of one in FP32 differ so much that its networks are not the same.
    """
    expected: Mapping[str, NDArray[Any]] = {}
    for name, step in racing.items():
        step()
        logits = step.logits()
        expected = expected or {key: values.copy() for key, values in logits.items()}
        error = logit_error(logits, expected)
        if name.endswith("FP32") and not error <= SAME_NETWORKS["fp32"]:
            raise UsageError(
                f"{name}: logits differ from PyTorch's by {error:.2g} of the largest; give "
                "the run that the bundle was exported from"
            )


def _costs(
    racing: Mapping[str, CascadeContender | SystemContender],
    samples: SampleSet,
    spec: CascadeSpec,
) -> dict[str, Cost]:
    samples = numbered_as(spec.labels, samples, exclusive=spec.outputs.exclusive)
    groups = groups_of(samples)
    scores = {
        name: answer(
            step.predict if isinstance(step, SystemContender) else step.cascade.predict, samples
        )
        for name, step in racing.items()
    }
    return {
        name: cost_of(answers, scores[REFERENCE], samples, spec, groups)
        for name, answers in scores.items()
    }
