"""The certificate of engines that were built on this machine.

An engine builder gives another engine on every GPU, and sometimes a wrong one. Before a cascade is
given to a user, its engines repeat the bundle's acceptance cases, and the outcome is kept as a
certificate beside the engines in the cache. It is valid for exactly these engines, this GPU, driver
and TensorRT; without a valid one the cases are run. A cascade that failed is refused, also at the
next start, until its engines are built again: an engine that passes only at the second try cannot
be trusted.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Final

from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.contract.version import ckd_version
from ckd.runtime.acceptance import CaseResult, golden_images, run_acceptance, tensor_error
from ckd.runtime.backends.selection import installed, open_backend
from ckd.runtime.cache import Record, Store
from ckd.runtime.chain import Chain
from ckd.runtime.engine import BuiltEngine, Engine, EngineBuilder
from ckd.runtime.engine_cache import EngineCache

SUFFIX: Final = ".certificate.json"

#: The fields of a certificate that are its key in the store; the others are the value.
_KEY: Final = ("bundle", "bundle_sha256", "precision", "machine", "engines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How the engines of a cascade did in the acceptance cases of their bundle.

    Attributes:
        bundle: name and start of the digest.
        bundle_sha256: digest.
        precision: the engines compute in it.
        machine: GPU, driver and TensorRT, as the backend names them.
        engines: SHA-256 of the engine of every network.
        num_cases: acceptance cases that were run.
        num_failed: cases whose outputs differ too much from the recorded ones.
        tensor_errors: of each output, the largest difference from the recorded tensor, in standard
            deviations of that; None where an output was not finite.
        edge_errors: likewise of every tensor between the networks, compared with what ONNX Runtime
            computes from the float32 files on the CPU; empty where that is not installed. They
            show where a difference began, and do not count for `passed`.
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
        """True if there were cases and none failed."""
        return self.num_cases > 0 and self.num_failed == 0

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return {**asdict(self), "passed": self.passed}


def certify(chain: Chain, bundle: Bundle) -> Certificate | None:
    """The certificate of a chain's engines, made now if the cache has none.

    None for backends that build no engines on this machine.

    Raises:
        GateFailed: an acceptance case failed.
        BundleError: the bundle has no readable cases.
    """
    backend = chain.backend
    if not isinstance(backend, EngineBuilder):
        return None
    key = _key(chain, bundle, backend)
    certificate = _read(key)
    if certificate is None:
        cases, edges = run_acceptance(chain, bundle), _edge_errors(chain, bundle)
        certificate = _certificate(chain, key, cases, edges)
        _write(certificate)
    if not certificate.passed:
        raise GateFailed(_refusal(chain, bundle, certificate))
    return certificate


def certificates(bundle: Bundle) -> list[Certificate]:
    """All certificates of a bundle on this machine, the newest first."""
    known = map(_parsed, _store().records())
    ours = [one for one in known if one is not None and one.bundle_sha256 == bundle.digest()]
    return sorted(ours, key=lambda one: one.made, reverse=True)


def prune_certificates() -> None:
    """Remove the certificates of engines that are no longer in the cache."""
    kept, store = {entry.sha256 for entry in EngineCache().entries()}, _store()
    for path in store.paths():
        record = store.record(path)
        certificate = None if record is None else _parsed(record)
        if certificate is None or not kept.issuperset(certificate.engines.values()):
            path.unlink(missing_ok=True)


def _store() -> Store:
    return Store(EngineCache().folder, SUFFIX)


def _key(chain: Chain, bundle: Bundle, backend: EngineBuilder) -> dict[str, Any]:
    """The facts that a certificate is valid for."""
    return {
        "bundle": bundle.id,
        "bundle_sha256": bundle.digest(),
        "precision": chain.precision,
        "machine": dict(backend.machine),
        "engines": {name: _sha256(engine) for name, engine in chain.engines.items()},
    }


def _sha256(engine: Engine) -> str:
    if not isinstance(engine, BuiltEngine):
        raise TypeError(f"an engine that was built here tells no SHA-256: {engine!r}")
    return engine.sha256


def _edge_errors(chain: Chain, bundle: Bundle) -> dict[str, float | None]:
    """Of every tensor between the networks the largest error over the golden images."""
    if "onnxruntime" not in installed() or "fp32" not in bundle.spec.file_kinds():
        return {}
    tensors = {name for node in bundle.spec.nodes for name in node.outputs}
    edges = sorted(tensors - {*bundle.spec.outputs.names()})
    errors: dict[str, list[float | None]] = {name: [] for name in edges}
    with Chain.of(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as exact:
        for image in golden_images(bundle):
            outputs, expected = chain.run_all(image), exact.run_all(image)
            for name, of_images in errors.items():
                of_images.append(_finite(tensor_error(outputs[name], expected[name])))
    return {name: _largest(of_images) for name, of_images in errors.items()}


def _certificate(
    chain: Chain,
    key: Mapping[str, Any],
    cases: list[CaseResult],
    edge_errors: Mapping[str, float | None],
) -> Certificate:
    overlaps = [c.mask_jaccard for c in cases] + [c.coarse_jaccard for c in cases]
    jaccard = min((overlap for overlap in overlaps if overlap is not None), default=None)
    shifts = [_finite(c.probability_error) for c in cases if c.probability_error is not None]
    return Certificate(
        **key,
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
    """None in place of a number that JSON cannot express."""
    return value if value is not None and math.isfinite(value) else None


def _largest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) and known else None


def _write(certificate: Certificate) -> None:
    content = certificate.as_dict()
    key = {name: content.pop(name) for name in _KEY}
    _store().write(key, content)


def _read(key: Mapping[str, Any]) -> Certificate | None:
    store = _store()
    record = store.record(store.path(key))
    return None if record is None or record.key != key else _parsed(record)


def _parsed(record: Record) -> Certificate | None:
    """None if a record is not of this version of the software, or its parts contradict."""
    try:
        fields = {**record.key, **record.value}
        passed = fields.pop("passed")
        certificate = Certificate(**fields)
        return certificate if certificate.passed is passed and _has_types(certificate) else None
    except (TypeError, AttributeError, KeyError):
        return None


def _has_types(certificate: Certificate) -> bool:
    """True if every field has its type: a record of another version may hold anything."""
    c = certificate
    texts = (c.bundle, c.bundle_sha256, c.precision, c.made, c.ckd)
    errors = (*c.tensor_errors.values(), *c.edge_errors.values())
    shares = (c.mask_jaccard, c.mask_dice, c.probability_shift)
    counts = (c.num_cases, c.num_failed, c.decision_flips)
    return (
        isinstance(c.machine, dict)
        and all(isinstance(text, str) for text in (*texts, *c.engines.values()))
        and all(value is None or isinstance(value, int | float) for value in (*errors, *shares))
        and all(isinstance(count, int) for count in counts)
    )


def _refusal(chain: Chain, bundle: Bundle, certificate: Certificate) -> str:
    errors = ", ".join(
        f"{name} {'no numbers' if error is None else f'{error:.2g} standard deviations'}"
        for name, error in certificate.tensor_errors.items()
    )
    reasons = [f"largest errors: {errors}"]
    if certificate.mask_jaccard is not None:
        reasons.append(f"smallest mask Jaccard {certificate.mask_jaccard:.3f}")
    if certificate.probability_shift is not None:
        reasons.append(f"largest shift of a probability {certificate.probability_shift:.3f}")
    if certificate.decision_flips:
        reasons.append(f"{certificate.decision_flips} decisions changed")
    return (
        f"{bundle.id} on {chain.backend.name} ({certificate.precision}): "
        f"{certificate.num_failed} of {certificate.num_cases} acceptance cases failed "
        f"({'; '.join(reasons)}); its engines are not used. `ckd-export engine --prune` and build "
        "them anew, take fp32, or `--device cpu`"
    )
