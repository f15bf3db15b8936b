"""The birth certificate of engines that were built on this machine.

What a builder makes of a network is different on every GPU, and sometimes wrong. Before a cascade
is handed out, its very engines repeat the bundle's acceptance cases; what came out is written
beside the engines in the cache. It holds until any of these engines, the GPU, the driver or
TensorRT is another; without one the cases are run. A cascade that failed them is refused, and stays
refused until its engines are built anew: what passes at the second try is not to be trusted.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.contract.version import ckd_version
from ckd.runtime.acceptance import CaseResult, golden_images, run_acceptance, tensor_error
from ckd.runtime.backends.selection import installed, open_backend
from ckd.runtime.cache import replace_file
from ckd.runtime.chain import Chain
from ckd.runtime.engine import BuiltEngine, EngineBuilder
from ckd.runtime.engine_cache import EngineCache

SUFFIX: Final = ".certificate.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was proved, of what, where.

    Attributes:
        bundle: name and start of the digest.
        bundle_sha256: digest.
        precision: computed in.
        machine: GPU, driver, TensorRT, as the backend tells them.
        engines: SHA-256 of the engine of every network.
        num_cases: acceptance cases that were run.
        num_failed: that did not come out as recorded.
        tensor_errors: of each answer, the largest difference from what was recorded in standard
            deviations of it; None where an answer was no number.
        edge_errors: likewise of every tensor between the networks, from what ONNX Runtime makes of
            the float32 files on the CPU; empty where that is not installed. They tell where a
            difference began, and decide nothing.
        mask_jaccard: smallest of all masks, at network size; None where there is no mask.
        mask_dice: likewise.
        probability_shift: largest of any class; None where there is no diagnosis.
        decision_flips: diagnoses that changed, see `CaseResult`.
        made: date and time.
        ckd: version of this software.
    """

    bundle: str
    bundle_sha256: str
    precision: str
    machine: Mapping[str, str | int]
    engines: Mapping[str, str]
    num_cases: int
    num_failed: int
    tensor_errors: Mapping[str, float | None]
    edge_errors: Mapping[str, float | None]
    mask_jaccard: float | None
    mask_dice: float | None
    probability_shift: float | None
    decision_flips: int
    made: str
    ckd: str

    @property
    def passed(self) -> bool:
        """Whether every case came out as recorded."""
        return self.num_cases > 0 and self.num_failed == 0

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return {**asdict(self), "passed": self.passed}


def certify(chain: Chain, bundle: Bundle) -> Certificate | None:
    """The certificate of a chain's engines: the one that there is, or a new one.

    None for backends that build no engines here.

    Raises:
        GateFailed: a case did not come out as recorded.
        BundleError: the bundle has no readable cases.
    """
    backend = chain.backend
    if not isinstance(backend, EngineBuilder):
        return None
    path, expected = _identity(chain, bundle, backend)
    found = _read(path)
    if found is None or _facts(found) != expected:
        cases, edges = run_acceptance(chain, bundle), _edge_errors(chain, bundle)
        found = _certificate(chain, expected, cases, edges)
        _write(path, found)
    if not found.passed:
        raise GateFailed(_refusal(chain, bundle, found))
    return found


def certificates(bundle: Bundle) -> list[Certificate]:
    """All that were made of a bundle on this machine, the newest first."""
    found = map(_read, EngineCache().folder.glob(f"*{SUFFIX}"))
    ours = [one for one in found if one is not None and one.bundle_sha256 == bundle.digest()]
    return sorted(ours, key=lambda one: one.made, reverse=True)


def prune_certificates() -> None:
    """Remove those of engines that are no longer in the cache."""
    cache = EngineCache()
    kept = {entry.sha256 for entry in cache.entries()}
    for path in cache.folder.glob(f"*{SUFFIX}"):
        found = _read(path)
        if found is None or not kept.issuperset(found.engines.values()):
            path.unlink(missing_ok=True)


def _identity(chain: Chain, bundle: Bundle, backend: EngineBuilder) -> tuple[Path, dict[str, Any]]:
    """Where the certificate lies, and what it must be of."""
    facts = {
        "bundle": bundle.id,
        "bundle_sha256": bundle.digest(),
        "precision": chain.precision,
        "machine": dict(backend.machine),
        "engines": {
            name: engine.sha256
            for name, engine in chain.engines.items()
            if isinstance(engine, BuiltEngine)
        },
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return EngineCache().folder / f"{digest[:32]}{SUFFIX}", facts


def _facts(certificate: Certificate) -> dict[str, Any]:
    names = ("bundle", "bundle_sha256", "precision", "machine", "engines")
    return {name: getattr(certificate, name) for name in names}


def _edge_errors(chain: Chain, bundle: Bundle) -> dict[str, float | None]:
    """Of every tensor between the networks the largest error over the golden images."""
    if "onnxruntime" not in installed() or "fp32" not in bundle.spec.file_kinds():
        return {}
    made = {name for node in bundle.spec.nodes for name in node.outputs}
    edges = sorted(made - {*bundle.spec.outputs.names()})
    errors: dict[str, list[float | None]] = {name: [] for name in edges}
    with Chain.of(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as exact:
        for image in golden_images(bundle):
            given, expected = chain.run_all(image), exact.run_all(image)
            for name, found in errors.items():
                found.append(_finite(tensor_error(given[name], expected[name])))
    return {name: _largest(found) for name, found in errors.items()}


def _certificate(
    chain: Chain,
    facts: Mapping[str, Any],
    cases: list[CaseResult],
    edge_errors: Mapping[str, float | None],
) -> Certificate:
    overlaps = [c.mask_jaccard for c in cases] + [c.coarse_jaccard for c in cases]
    jaccard = min((overlap for overlap in overlaps if overlap is not None), default=None)
    shifts = [_finite(c.probability_error) for c in cases if c.probability_error is not None]
    return Certificate(
        **facts,
        num_cases=len(cases),
        num_failed=sum(not case.passed for case in cases),
        tensor_errors={
            name: _largest([_finite(case.tensor_errors[name]) for case in cases])
            for name in chain.spec.outputs.names()
        },
        edge_errors=edge_errors,
        mask_jaccard=jaccard,
        mask_dice=None if jaccard is None else 2 * jaccard / (1 + jaccard),
        probability_shift=_largest(shifts),
        decision_flips=sum(case.decision_flips for case in cases),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ckd=ckd_version(),
    )


def _finite(value: float | None) -> float | None:
    """JSON knows no other numbers."""
    return value if value is not None and math.isfinite(value) else None


def _largest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) and known else None


def _read(path: Path) -> Certificate | None:
    """None if there is none, or it is damaged: then the cases are run again."""
    try:
        tree = json.loads(path.read_text())
        passed = tree.pop("passed")
        found = Certificate(**tree)
        return found if found.passed is passed and _is_sound(found) else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _is_sound(found: Certificate) -> bool:
    """Whether all is of the type that it should be of: foreign JSON may hold anything."""
    texts = (found.bundle, found.bundle_sha256, found.precision, found.made, found.ckd)
    errors = (*found.tensor_errors.values(), *found.edge_errors.values())
    shares = (found.mask_jaccard, found.mask_dice, found.probability_shift)
    counts = (found.num_cases, found.num_failed, found.decision_flips)
    return (
        isinstance(found.machine, dict)
        and all(isinstance(text, str) for text in (*texts, *found.engines.values()))
        and all(value is None or isinstance(value, int | float) for value in (*errors, *shares))
        and all(isinstance(count, int) for count in counts)
    )


def _write(path: Path, certificate: Certificate) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(certificate.as_dict(), indent=1).encode())
    except OSError as error:
        _log.info("a certificate cannot be kept: %s", error)


def _refusal(chain: Chain, bundle: Bundle, found: Certificate) -> str:
    errors = ", ".join(
        f"{name} {'no numbers' if error is None else f'{error:.2g} standard deviations'}"
        for name, error in found.tensor_errors.items()
    )
    missed = [f"largest errors: {errors}"]
    if found.mask_jaccard is not None:
        missed.append(f"smallest mask Jaccard {found.mask_jaccard:.3f}")
    if found.probability_shift is not None:
        missed.append(f"largest shift of a probability {found.probability_shift:.3f}")
    if found.decision_flips:
        missed.append(f"{found.decision_flips} decisions changed")
    return (
        f"{bundle.id} on {chain.backend.name} ({found.precision}): {found.num_failed} of "
        f"{found.num_cases} acceptance cases failed ({'; '.join(missed)}); its engines are not "
        "used. `ckd-export engine --prune` and build them anew, take fp32, or `--device cpu`"
    )
