"""Engines that were built on this machine prove themselves before they are used.

A builder gives another engine on every machine, and sometimes a wrong one. Before a cascade is
given to a user, its engines answer the bundle's acceptance cases twice, the second time in the
opposite order, so that answers which drift are found. The outcome is kept as a certificate
(`ckd.runtime.certificate`); without a valid one the cases are run. A cascade that failed is
refused, also at the next start, until its engines are built again: an engine that passes only at
the second try cannot be trusted.
"""

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ckd.contract.bundle import Bundle
from ckd.contract.errors import CkdError, GateFailed
from ckd.contract.version import ckd_version
from ckd.runtime.acceptance import run_twice, tensor_error
from ckd.runtime.backends.selection import installed, open_backend
from ckd.runtime.cases import golden_images
from ckd.runtime.certificate import Certificate, read_certificate, write_certificate
from ckd.runtime.chain import Chain
from ckd.runtime.engine import BuiltEngine, Engine, EngineBuilder


def certify(chain: Chain, bundle: Bundle) -> Certificate | None:
    """The certificate of a chain's engines, made now if the cache has none.

    None for backends that build no engines on this machine.

    Raises:
        GateFailed: an acceptance case failed, or answers drift.
        BundleError: the bundle has no readable cases.
    """
    backend = chain.backend
    if not isinstance(backend, EngineBuilder):
        return None
    key = _key(chain, bundle, backend)
    certificate = read_certificate(key)
    if certificate is None:
        certificate = _proved(chain, bundle, key)
        write_certificate(certificate)
    if not certificate.passed:
        raise GateFailed(_refusal(chain, bundle, certificate))
    return certificate


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
    try:
        with Chain.of(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as exact:
            for image in golden_images(bundle):
                outputs, expected = chain.run_all(image), exact.run_all(image)
                for name, of_images in errors.items():
                    of_images.append(_finite(tensor_error(outputs[name], expected[name])))
    except (CkdError, ImportError):  # these are told and do not count
        return {}
    return {name: _largest(of_images) for name, of_images in errors.items()}


def _proved(chain: Chain, bundle: Bundle, key: Mapping[str, Any]) -> Certificate:
    cases, repeat_errors = run_twice(chain, bundle)
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
        edge_errors=_edge_errors(chain, bundle),
        repeat_errors={name: _finite(error) for name, error in repeat_errors.items()},
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
    if not certificate.is_steady:
        reasons.insert(0, "the same image has another answer later")
    remedy = (
        "`ckd-export engine --prune` to have them compiled anew, or `--backend onnxruntime`"
        if chain.backend.device == "cpu"
        else "`ckd-export engine --prune` and build them anew, take fp32, or `--device cpu`"
    )
    return (
        f"{bundle.id} on {chain.backend.name} ({certificate.precision}): "
        f"{certificate.num_failed} of {certificate.num_cases} acceptance cases failed "
        f"({'; '.join(reasons)}); its engines are not used. {remedy}"
    )
