"""The four forms of `ckd-export engine`, each of which prints what it did."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ckd.console.progress import say, show
from ckd.console.tables import print_table
from ckd.contract.errors import InputError
from ckd.export.engines import build_engines, describe
from ckd.runtime.certificate import Certificate, certificates, prune_certificates
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.signed import open_bundle


def build(path: Path, precisions: Sequence[str] | None, device: str, as_json: bool) -> None:
    """Build engines, and print them with their certificates."""
    report = build_engines(open_bundle(path), precisions, device)
    if as_json:
        print(json.dumps(report.as_dict()))
        return
    print_table(
        ("network", "precision", "MB", "seconds", "path"),
        [
            (
                engine.network,
                engine.precision,
                f"{engine.num_bytes / 1e6:.1f}",
                "kept" if engine.seconds is None else f"{engine.seconds:.1f}",
                str(engine.path),
            )
            for engine in report.engines
        ],
        numbers=("MB", "seconds"),
    )
    for certificate in report.certificates.values():
        _print_certificate(certificate)
    if report.not_run is not None:
        say(
            f"built ahead of time, not run and so not certified here ({report.not_run}); "
            "that happens where they are loaded first"
        )


def show_kept(as_json: bool) -> None:
    """Print the engines in the cache, the one used last first."""
    cache = EngineCache()
    entries = cache.entries()
    if as_json:
        kept = [
            {
                **describe(entry),
                "num_bytes": entry.size,
                "used": _when(entry.used_s),
                "path": str(entry.path),
                "sha256": entry.sha256,
            }
            for entry in entries
        ]
        print(json.dumps({"folder": str(cache.folder), "engines": kept}))
        return
    if entries:
        print_table(
            ("network", "precision", "MB", "last used", "built by", "for"),
            [
                (
                    description["network"],
                    description["precision"],
                    f"{entry.size / 1e6:.1f}",
                    _when(entry.used_s),
                    description["builder"],
                    description["device"],
                )
                for entry in entries
                for description in [describe(entry)]
            ],
            numbers=("MB",),
        )
    total_mb = sum(entry.size for entry in entries) / 1e6
    show(f"{len(entries)} engines, {total_mb:.1f} MB in {cache.folder}")


def prune_kept(keep_mb: int, as_json: bool) -> None:
    """Remove engines and print how much that freed."""
    cache = EngineCache()
    freed = cache.prune(keep_mb * 1_000_000)
    prune_certificates()
    left = sum(entry.size for entry in cache.entries())
    if as_json:
        print(json.dumps({"folder": str(cache.folder), "freed_bytes": freed, "left_bytes": left}))
        return
    show(f"{freed / 1e6:.1f} MB freed, {left / 1e6:.1f} MB left in {cache.folder}")


def show_certificates(path: Path, as_json: bool) -> None:
    """Print the certificates of a bundle's engines on this machine, the newest first."""
    issued = certificates(open_bundle(path))
    if not issued:
        raise InputError(
            f"{path}: no engines of this bundle have run on this machine; "
            "`ckd-export engine` builds them"
        )
    if as_json:
        print(json.dumps([certificate.as_dict() for certificate in issued]))
        return
    for certificate in issued:
        _print_certificate(certificate)


def _print_certificate(certificate: Certificate) -> None:
    failed = f"FAILED {certificate.num_failed} of"
    show(
        f"{certificate.bundle} in {certificate.precision}: "
        f"{'passed' if certificate.passed else failed} {certificate.num_cases} acceptance cases"
    )
    machine = (f"{name.replace('_', ' ')} {value}" for name, value in certificate.machine.items())
    show(f"  on        {', '.join(machine)}")
    show(f"  made      {certificate.made} by ckd {certificate.ckd}")
    for kind, errors in (
        ("error", certificate.tensor_errors),
        ("edge", certificate.edge_errors),
        ("again", certificate.repeat_errors),
    ):
        for name, error in errors.items():
            shown = "no numbers" if error is None else f"{error:.1e} standard deviations"
            show(f"  {kind:9} {name} {shown}")
    jaccard, dice = certificate.mask_jaccard, certificate.mask_dice
    if jaccard is not None and dice is not None:
        show(f"  masks     Jaccard {jaccard:.4f}, Dice {dice:.4f} at least")
    if certificate.probability_shift is not None:
        show(
            f"  diagnosis probabilities shifted by {certificate.probability_shift:.1e} at most, "
            f"{certificate.decision_flips} decisions changed"
        )
    for name, sha256 in certificate.engines.items():
        show(f"  engine    {name} {sha256}")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")
