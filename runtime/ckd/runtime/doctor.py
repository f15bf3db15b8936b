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

from ckd.contract.errors import CkdError, GateFailed
from ckd.contract.version import ckd_version
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.backends.selection import BACKENDS, chosen_device, installed
from ckd.runtime.backends.tensorrt.sdk import import_tensorrt
from ckd.runtime.cache import cache_folder
from ckd.runtime.cascade import Cascade
from ckd.runtime.choice import best_of, remembered
from ckd.runtime.cpu import cpu_name, lacks_int8_instructions, usable_cores
from ckd.runtime.cuda.presence import why_no_gpu
from ckd.runtime.private import refusals
from ckd.runtime.signed import embedded_bundle, open_bundle, signature_shown
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


def examine(bundle: Path | None = None) -> list[Check]:
    """Check the software, then load a bundle, repeat its acceptance cases and time it."""
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
            else Check(f"opencv {feature}", "note", f"not built in, so {use} is not available")
        )
    for name, (package, remedy) in BACKENDS.items():
        if name in installed():
            checks.append(Check(name, "ok", _version(package)))
        else:
            checks.append(Check(name, "note", f"not installed; {remedy}"))
    checks += [_gpu(), _tensorrt(), _cache()]
    checks.append(_try_bundle(bundle or embedded_bundle()))
    on_cpu = chosen_device("auto", "auto") == "cpu"
    if on_cpu and len(installed()) > 1 and checks[-1].status == "ok":
        checks.append(_choice(bundle or embedded_bundle()))
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


def _cache() -> Check:
    try:
        folder = cache_folder()
    except CkdError as error:
        return Check("cache", "note", str(error))
    if told := refusals(folder):
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        return Check("cache", "note", f"{told[0]}{more}")
    return Check("cache", "ok", f"{folder}: written by nobody else")


def _choice(path: Path) -> Check:
    """The choice that `auto` made when `_try_bundle` loaded the bundle."""
    taken_ms = remembered(open_bundle(path).digest(), "fp32", None)
    if taken_ms is None:
        where = f"{cache_folder()} cannot be written, so auto measures every time"
        return Check("backend auto", "note", where)
    figures = ", ".join(f"{name} {ms:.1f} ms" for name, ms in taken_ms.items())
    return Check(
        "backend auto",
        "ok",
        f"takes {best_of(taken_ms)}: {figures} for the networks, remembered in {cache_folder()}",
    )


def _try_bundle(path: Path) -> Check:
    try:
        bundle = open_bundle(path)
        bundle.verify()
        with Cascade.load(path) as cascade:
            cases = run_acceptance(cascade.chain, bundle)
            if failed := [case for case in cases if not case.passed]:
                raise GateFailed(f"{len(failed)} of {len(cases)} acceptance cases failed")
            cascade.warmup()
            frame = np.full((1080, 1920, 3), 128, np.uint8)
            taken = [cascade.predict(frame).timings_ms["total"] for _ in range(10)]
            return Check(
                "bundle",
                "ok",
                f"{cascade.bundle_id} on {cascade.backend.name}, {len(cases)} acceptance cases "
                f"passed, {statistics.median(taken):.1f} ms for a 1920x1080 frame (median of 10); "
                f"{signature_shown(bundle)}",
            )
    except CkdError as error:
        return Check("bundle", "problem", str(error), error.exit_code)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "installed"  # under another name, as onnxruntime-gpu is


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))
