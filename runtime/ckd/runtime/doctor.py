"""Checks whether this machine can run a cascade; each problem is named with its remedy."""

import importlib.metadata
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ckd.contract.bundle import Bundle
from ckd.contract.errors import CkdError, GateFailed
from ckd.contract.version import ckd_version
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.backends.selection import BACKENDS, installed
from ckd.runtime.backends.tensorrt.sdk import import_tensorrt
from ckd.runtime.cache import cache_folder
from ckd.runtime.cascade import Cascade
from ckd.runtime.certificate import certificates
from ckd.runtime.choice import best_of, remembered
from ckd.runtime.cpu import cpu_name, lacks_int8_instructions, usable_cores
from ckd.runtime.cuda.presence import why_no_gpu
from ckd.runtime.engine import BuiltEngine
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.private import refusals
from ckd.runtime.signed import open_bundle, signature_shown
from ckd.runtime.sources.opencv import build_feature


@dataclass(frozen=True, slots=True)
class Check:
    """One fact about the machine.

    Attributes:
        what: the subject, in a few words.
        status: "problem" if a cascade cannot run, "note" if something optional is missing.
        detail: the fact.
        exit_code: of the error behind a problem, see `ckd.contract.errors`.
    """

    what: str
    status: Literal["ok", "note", "problem"]
    detail: str
    exit_code: int = 0


def examine(
    bundle: Path | None = None,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    num_threads: int | None = None,
) -> list[Check]:
    """Check the software, then load a bundle, repeat its acceptance cases and time it.

    Arguments are those of `Cascade.load`, so that what is tested is what would be used.
    """
    checks = [
        Check("system", "ok", f"{platform.system()} {platform.machine()}, Python {_python()}"),
        Check("cores", "ok", f"{usable_cores()} usable, {cpu_name()}"),
        Check("ckd", "ok", ckd_version()),
        Check("numpy, opencv", "ok", f"{np.__version__}, {cv2.__version__}"),
    ]
    if lacks_int8_instructions():
        checks.append(
            Check("int8", "note", "no instructions for it (VNNI): slow, and sums may saturate")
        )
    if "onnxruntime" in installed():
        from ckd.runtime.backends.onnxruntime import why_no_int8

        if why := why_no_int8():
            checks.append(Check("int8 by onnxruntime", "note", why))
    for feature, use in (("GUI", "--view window"), ("GStreamer", "csi:// cameras")):
        version = build_feature(feature)
        checks.append(
            Check(f"opencv {feature}", "ok", version)
            if version
            else Check(f"opencv {feature}", "note", f"not built in, so no {use}")
        )
    for name, (package, remedy) in BACKENDS.items():
        if name in installed():
            checks.append(Check(name, "ok", _version(package)))
        else:
            checks.append(Check(name, "note", f"not installed; {remedy}"))
    checks += [_gpu(), _tensorrt(), *_cache()]
    try:
        opened = open_bundle(bundle)
        opened.verify()
        with Cascade.of(opened, backend, device, precision, num_threads) as cascade:
            checks += [_tried(cascade, opened), *_engines(cascade, opened)]
    except CkdError as error:
        return [*checks, Check("bundle", "problem", str(error), error.exit_code)]
    if backend == "auto" and cascade.backend.device == "cpu" and len(installed()) > 1:
        checks.append(_choice(opened, cascade.precision, num_threads))
    return checks


def _gpu() -> Check:
    if (why := why_no_gpu()) is not None:
        return Check("gpu", "note", why)
    from ckd.runtime.cuda.bindings import open_cuda

    try:
        gpu = open_cuda("auto").properties()
    except CkdError as error:
        return Check("gpu", "note", str(error))
    capability = ".".join(map(str, gpu.compute_capability))
    driver, cuda = (
        f"{version // 1000}.{version % 1000 // 10}"
        for version in (gpu.driver_version, gpu.runtime_version)
    )
    return Check(
        "gpu",
        "ok",
        f"{gpu.name}, compute capability {capability}, {gpu.total_bytes / 2**30:.1f} GiB, "
        f"driver for CUDA {driver}, CUDA {cuda}",
    )


def _tensorrt() -> Check:
    try:
        return Check("tensorrt", "ok", import_tensorrt().name)
    except CkdError as error:
        return Check("tensorrt", "note", str(error))


def _cache() -> list[Check]:
    """One fact for each file that is not used."""
    try:
        folder = cache_folder()
    except CkdError as error:
        return [Check("cache", "note", str(error))]
    if told := refusals(folder):
        return [Check("cache", "note", why) for why in told]
    return [Check("cache", "ok", f"{folder}: written by nobody else")]


def _choice(bundle: Bundle, precision: str, num_threads: int | None) -> Check:
    """The choice that `auto` made when the bundle was loaded."""
    taken_ms = remembered(bundle.digest(), precision, num_threads)
    if taken_ms is None:
        where = (
            f"{cache_folder()} cannot be written, so auto measures every time; make room there, or "
            "set CKD_CACHE to another folder"
        )
        return Check("backend auto", "note", where)
    figures = ", ".join(f"{name} {ms:.1f} ms" for name, ms in taken_ms.items())
    return Check(
        "backend auto",
        "ok",
        f"takes {best_of(taken_ms)}: {figures} for the networks, remembered in {cache_folder()}",
    )


def _tried(cascade: Cascade, bundle: Bundle) -> Check:
    cases = run_acceptance(cascade.chain, bundle)
    if failed := [case for case in cases if not case.passed]:
        raise GateFailed(f"{len(failed)} of {len(cases)} acceptance cases failed")
    cascade.warmup()
    frame = np.full((1080, 1920, 3), 128, np.uint8)
    taken = [cascade.predict(frame).timings_ms["total"] for _ in range(10)]
    return Check(
        "bundle",
        "ok",
        f"{cascade.bundle_id} on {cascade.backend.name} in {cascade.precision}, {len(cases)} "
        f"acceptance cases passed, {statistics.median(taken):.1f} ms for a 1920x1080 frame (median "
        f"of 10); {signature_shown(bundle)}",
    )


def _engines(cascade: Cascade, bundle: Bundle) -> list[Check]:
    """Whether engines that were built here are there at the next start."""
    built = [one for one in cascade.chain.engines.values() if isinstance(one, BuiltEngine)]
    if not built:
        return []
    cache, used = EngineCache(), {engine.sha256 for engine in built}
    if used <= {entry.sha256 for entry in cache.entries()}:
        for one in certificates(bundle):
            if used == {*one.engines.values()}:
                told = f"answered the {one.num_cases} cases twice, {one.made}"
                return [Check("engines", "ok", f"kept in {cache.folder}; {told}")]
    return [
        Check(
            "engines",
            "note",
            f"cannot be kept in {cache.folder}, so they are built and tested at every start; make "
            "room there, or set CKD_CACHE to another folder",
        )
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "installed"  # under another name, as onnxruntime-gpu is


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))
