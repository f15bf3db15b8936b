"""What `ckd-export engine` prints."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ckd.contract.bundle import Bundle
from ckd.contract.errors import InputError
from ckd.export.engines import build_engines, describe
from ckd.runtime.certificate import Certificate, certificates, prune_certificates
from ckd.runtime.engine_cache import EngineCache


def build(path: Path, precisions: Sequence[str] | None, device: str, as_json: bool) -> None:
    """Build, and print what was built and what it proved."""
    report = build_engines(Bundle(path), precisions, device)
    if as_json:
        print(json.dumps(report.as_dict()))
        return
    _print_table(
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
    )
    for made in report.certificates.values():
        _print_certificate(made)
    if report.not_run is not None:
        print(
            f"built ahead of time, not run and so not certified here ({report.not_run}); "
            "that happens where they are loaded first",
            file=sys.stderr,
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
        _print_table(
            ("network", "precision", "MB", "last used", "built by", "for"),
            [
                (
                    what["network"],
                    what["precision"],
                    f"{entry.size / 1e6:.1f}",
                    _when(entry.used_s),
                    what["builder"],
                    what["device"],
                )
                for entry in entries
                for what in [describe(entry)]
            ],
        )
    total_mb = sum(entry.size for entry in entries) / 1e6
    print(f"{len(entries)} engines, {total_mb:.1f} MB in {cache.folder}")


def prune_kept(keep_mb: int, as_json: bool) -> None:
    """Remove engines and print how much that freed."""
    cache = EngineCache()
    freed = cache.prune(keep_mb * 1_000_000)
    prune_certificates()
    left = sum(entry.size for entry in cache.entries())
    if as_json:
        print(json.dumps({"folder": str(cache.folder), "freed_bytes": freed, "left_bytes": left}))
        return
    print(f"{freed / 1e6:.1f} MB freed, {left / 1e6:.1f} MB left in {cache.folder}")


def show_certificates(path: Path, as_json: bool) -> None:
    """Print what engines of a bundle proved on this machine, the newest first."""
    found = certificates(Bundle(path))
    if not found:
        raise InputError(
            f"{path}: no engines of this bundle have run on this machine; "
            "`ckd-export engine` builds them"
        )
    if as_json:
        print(json.dumps([made.as_dict() for made in found]))
        return
    for made in found:
        _print_certificate(made)


def _print_certificate(made: Certificate) -> None:
    verdict = "passed" if made.passed else f"FAILED {made.num_failed} of"
    print(f"{made.bundle} in {made.precision}: {verdict} {made.num_cases} acceptance cases")
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made.machine.items())
    print(f"  on        {machine}")
    print(f"  made      {made.made} by ckd {made.ckd}")
    for kind, errors in (("error", made.tensor_errors), ("edge", made.edge_errors)):
        for name, error in errors.items():
            shown = "no numbers" if error is None else f"{error:.1e} standard deviations"
            print(f"  {kind:9} {name} {shown}")
    if made.mask_jaccard is not None and made.mask_dice is not None:
        print(f"  masks     Jaccard {made.mask_jaccard:.4f}, Dice {made.mask_dice:.4f} at least")
    if made.probability_shift is not None:
        print(
            f"  diagnosis probabilities shifted by {made.probability_shift:.1e} at most, "
            f"{made.decision_flips} decisions changed"
        )
    for name, sha256 in made.engines.items():
        print(f"  engine    {name} {sha256}")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if name in ("MB", "seconds") else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        print("  ".join(cells).rstrip())


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")
