"""Repeats the checks of a bundle that need no PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckd.console import Progress
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.signed import open_bundle, signature_shown


def verify_bundle(
    path: Path, progress: Progress | None = None, keys: Sequence[Path] | None = None
) -> dict[str, Any]:
    """Repeat every check that needs no PyTorch: hashes, wiring, shapes, acceptance cases.

    Args:
        path: of a bundle folder or zip file.
        progress: told (done, total): the hashes first, then each precision.
        keys: files in PEM, by one of which it must be signed; None for those of CKD_TRUSTED_KEYS.

    Returns:
        A record of the bundle and its cases, ready for JSON.

    Raises:
        BundleError: a file is missing or changed, the wiring does not fit, or it is not signed by
            a key that is trusted.
        EngineError: a network cannot be loaded, or has other inputs and outputs than promised.
        GateFailed: an acceptance case did not come out as recorded.
    """
    bundle = open_bundle(path, keys)
    backend = open_backend("onnxruntime", "cpu", None)
    held = bundle.spec.file_kinds()
    precisions = [p for p, files in backend.precisions.items() if files in held]
    tell = progress or (lambda done, total: None)
    tell(0, 1 + len(precisions))
    bundle.verify()
    cases = {}
    for done, precision in enumerate(precisions, start=1):
        tell(done, 1 + len(precisions))
        with Cascade(bundle, backend, precision) as cascade:
            cases[precision] = check_acceptance(cascade, bundle)
    tell(1 + len(precisions), 1 + len(precisions))
    return {
        "bundle": str(path),
        "name": bundle.spec.name,
        "sha256": bundle.digest(),
        "serial": bundle.spec.serial,
        "signature": signature_shown(bundle),
        "num_files": len(bundle.files),
        "num_bytes": bundle.num_bytes(),
        "cases": cases,
    }


def check_acceptance(cascade: Cascade, bundle: Bundle) -> list[dict[str, Any]]:
    """The acceptance cases as records for JSON; `GateFailed` if one fails."""
    cases = run_acceptance(cascade.chain, bundle)
    failed = [case for case in cases if not case.passed]
    if failed:
        raise GateFailed(
            f"{bundle.path}: {len(failed)} of {len(cases)} acceptance cases failed on "
            f"{cascade.backend.name}; the first: {failed[0].as_dict()}"
        )
    return [case.as_dict() for case in cases]
