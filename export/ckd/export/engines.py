"""TensorRT engines of a bundle, built before they are needed, and tested if there is a GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from ckd import console
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.backends.tensorrt.backend import TensorRtBackend
from ckd.runtime.backends.tensorrt.kept import Kept, KeptEngines
from ckd.runtime.backends.tensorrt.sdk import TensorRt, import_tensorrt
from ckd.runtime.cascade import Cascade
from ckd.runtime.certificate import Certificate
from ckd.runtime.cuda.presence import why_no_gpu
from ckd.runtime.engine_cache import EngineCache, Entry
from ckd.runtime.proving import certify


@runtime_checkable
class CachedEngine(Protocol):
    """An engine that was loaded from the cache.

    Attributes:
        kept: its file there.
    """

    kept: Kept


@dataclass(frozen=True, slots=True)
class EngineReport:
    """The engines of a bundle.

    Attributes:
        engines: of every network in every precision.
        certificates: by precision; empty if no GPU could run the engines.
        not_run: why no engine was run; None if they were.
    """

    engines: tuple[Kept, ...]
    certificates: Mapping[str, Certificate]
    not_run: str | None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "engines": [
                {
                    "network": engine.network,
                    "precision": engine.precision,
                    "num_bytes": engine.num_bytes,
                    "seconds": engine.seconds,
                    "path": str(engine.path),
                    "sha256": engine.sha256,
                }
                for engine in self.engines
            ],
            "certificates": {p: c.as_dict() for p, c in self.certificates.items()},
            "not_run": self.not_run,
        }


def build_engines(
    bundle: Bundle, precisions: Sequence[str] | None = None, device: str = "auto"
) -> EngineReport:
    """Build the engines of a bundle into the cache, and run its acceptance cases on them.

    Args:
        bundle: to build.
        precisions: by default all that TensorRT computes in and the bundle has files for.
        device: "cuda" or "cuda:N". With "auto", TensorRT-RTX builds ahead of time if there is no
            GPU; such engines are finished and tested when they are first loaded on one.

    Raises:
        UsageError: an unknown precision, or one that the bundle lacks.
        EnvironmentUnusable: TensorRT is not installed, or needs a GPU to build and there is none,
            or the cache cannot be written.
        EngineError: an engine cannot be built, or the disk has no room for it.
        GateFailed: the engines of a precision give other answers than recorded.
        BundleError: the bundle is damaged.
    """
    chosen = _checked(bundle, precisions)
    bundle.verify()
    tensorrt = import_tensorrt()
    _check_cache()
    if device == "auto" and (why := why_no_gpu()) is not None:
        return _kept(_build_ahead(bundle, chosen, tensorrt, why))
    backend = open_backend("tensorrt", device, None)
    engines: list[Kept] = []
    certificates = {}
    for precision in chosen:
        with Cascade(bundle, backend, precision) as cascade:
            loaded = cascade.chain.engines.values()
            engines += [engine.kept for engine in loaded if isinstance(engine, CachedEngine)]
            if (certificate := certify(cascade.chain, bundle)) is not None:
                certificates[precision] = certificate
    return _kept(EngineReport(tuple(engines), certificates, None))


def describe(entry: Entry) -> dict[str, str]:
    """Network, precision, builder and device of an engine in the cache."""
    key = {name: str(value) for name, value in entry.key.items()}
    return {
        "network": key.get("network", "?"),
        "precision": key.get("precision", key.get("INFERENCE_PRECISION_HINT", "?")),
        "builder": key.get("tensorrt", f"openvino {key['openvino']}" if "openvino" in key else "?"),
        "device": key.get("gpu", key.get("device", "?")),
    }


def _checked(bundle: Bundle, precisions: Sequence[str] | None) -> list[str]:
    known, held = TensorRtBackend.precisions, bundle.spec.file_kinds()
    if unknown := [p for p in precisions or () if p not in known]:
        raise UsageError(f"unknown precision {unknown[0]!r}; expected {', '.join(known)}")
    if missing := [p for p in precisions or () if known[p] not in held]:
        raise UsageError(
            f"{bundle.path}: no {known[missing[0]]} networks in this bundle; "
            f"it has {', '.join(held)}"
        )
    chosen = list(dict.fromkeys(precisions or [p for p, files in known.items() if files in held]))
    if not chosen:
        raise UsageError(
            f"{bundle.path}: no networks for TensorRT in this bundle; it has {', '.join(held)}"
        )
    return chosen


def _check_cache() -> None:
    """`EnvironmentUnusable` if no engine can be kept, before minutes are spent on building."""
    try:
        console.make_folder(EngineCache().folder)
    except UsageError as error:
        raise EnvironmentUnusable(f"{error}; set CKD_CACHE to another folder") from error


def _kept(report: EngineReport) -> EngineReport:
    """The report; `EngineError` if files of its engines could not be kept."""
    if lost := [engine for engine in report.engines if not engine.path.is_file()]:
        raise EngineError(
            f"{lost[0].path.parent}: {len(lost)} of {len(report.engines)} engines were built but "
            "could not be kept; make room there, or set CKD_CACHE to another folder"
        )
    return report


def _build_ahead(
    bundle: Bundle, precisions: Sequence[str], tensorrt: TensorRt, why: str
) -> EngineReport:
    if not tensorrt.builds_ahead:
        raise EnvironmentUnusable(
            f"{tensorrt.name} builds on the GPU that it builds for, and there is none: {why}"
        )
    kept = KeptEngines(tensorrt, None)
    spec = bundle.spec
    engines = []
    for precision in precisions:
        files = TensorRtBackend.precisions[precision]
        specs = {name: spec.tensor(name, files) for name in spec.shapes}
        engines += [
            replace(
                kept.fetch(node, bundle.content(node.files[files]), specs, precision), content=None
            )
            for node in spec.nodes
        ]
    return EngineReport(tuple(engines), {}, why)
