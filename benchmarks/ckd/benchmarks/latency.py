"""How long the chain takes for one image, against one fused graph and against PyTorch.

Every contender gets the same 1920x1080 frame on the same machine in the same run, with the same
number of threads, the same resize before its networks and the same masks at frame size after them.
Each call gives two times: of the networks alone, and of the whole frame.
"""

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.contenders import (
    CascadeContender,
    CascadeSetting,
    SystemContender,
    frame,
    write_jpeg,
)
from ckd.benchmarks.machine import activity, conditions, machine
from ckd.benchmarks.measure import (
    Latency,
    Ratio,
    interleaved,
    latency_from_samples,
    paired_ratio,
)
from ckd.benchmarks.peers import open_peer
from ckd.benchmarks.power import Rail, measure_power
from ckd.benchmarks.processes import memory_of
from ckd.benchmarks.report import Contender, Kind, LatencyReport
from ckd.benchmarks.same_networks import check_same
from ckd.console import Progress
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.runtime.signed import embedded_bundle


def latency(
    bundle: Path | None = None,
    *,
    run: Path | None = None,
    fused: Path | None = None,
    setting: CascadeSetting,
    warmup: int = 10,
    runs: int = 100,
    weights: str = "as in the bundle",
    command: str = "",
    rails: tuple[Rail, ...] = (),
    progress: Progress | None = None,
) -> LatencyReport:
    """Measure a bundle, on the CPU against other forms of the same networks.

    Args:
        bundle: folder or zip file; None takes the one that comes with `ckd`.
        run: folder of `ckd-train fit`; adds PyTorch.
        fused: ONNX file of the whole cascade, from the image to the bundle's outputs; adds it.
        setting: backend, device and precision of the chain, threads of every contender.
        warmup: turns that do not count.
        runs: turns that count.
        weights: what the report says of the weights.
        command: to be quoted in the report.
        rails: supplies whose power is measured at the end, while the chain runs without a pause.
        progress: told after every call.

    Raises:
        UsageError: the contenders do not run the same networks, or would not on one device.
        EnvironmentUnusable: a contender's library is not installed.
        EngineError: a power monitor stopped answering.
    """
    threads = setting.threads
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
        cascade = stack.enter_context(setting.load(path))
        setting = replace(
            setting,
            backend=cascade.backend.name,
            device=cascade.backend.device,
            precision=cascade.precision,
        )
        if setting.device != "cpu" and len(sources) > 1:
            raise UsageError(
                f"PyTorch and the fused graph would run on the CPU, the chain on {setting.device}; "
                "leave out --run and --recipe, or race them all there with `ckd-bench gpu`"
            )
        chain = CascadeContender(cascade, frame_HWC)
        racing: dict[Kind, CascadeContender | SystemContender] = {
            "chain": chain,
            "jpeg": CascadeContender(cascade, write_jpeg(frame_HWC, folder / "frame.jpg")),
        }
        for kind, source in sources.items():
            if kind != "chain":
                infer = open_peer(kind, source, cascade.spec, threads, stack)
                racing[kind] = SystemContender(infer, Bundle(path), frame_HWC)
        errors = check_same(racing, setting.precision)
        frame_ms = interleaved(racing, warmup=warmup, runs=runs, progress=progress)
        power = measure_power(lambda: cascade.predict(frame_HWC), rails) if rails else None

    networks_ms = {kind: np.array(racing[kind].networks_ms[-runs:]) for kind in sources}
    laps = chain.laps_ms[-runs:]
    return LatencyReport(
        bundle=cascade.bundle_id,
        weights=weights,
        image_size=cascade.spec.image_size,
        backend=setting.backend,
        device=setting.device,
        precision=cascade.precision,
        threads=threads,
        contenders=tuple(
            Contender(
                kind=kind,
                networks=_latency(networks_ms.get(kind), warmup),
                frame=latency_from_samples(frame_ms[kind], warmup),
                networks_speedup=_ratio(networks_ms.get("pytorch"), networks_ms.get(kind)),
                frame_speedup=_ratio(frame_ms.get("pytorch"), frame_ms[kind]),
                memory=memory_of(kind, sources[kind], path, setting) if kind in sources else None,
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
        power=power,
        machine=machine(),
        conditions=conditions(before, activity(), command),
    )


def _latency(samples_ms: NDArray[np.float64] | None, warmup: int) -> Latency | None:
    return None if samples_ms is None else latency_from_samples(samples_ms, warmup)


def _ratio(
    above_ms: NDArray[np.float64] | None, below_ms: NDArray[np.float64] | None
) -> Ratio | None:
    return None if above_ms is None or below_ms is None else paired_ratio(above_ms, below_ms)
