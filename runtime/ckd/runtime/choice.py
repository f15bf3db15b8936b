"""Which of the installed backends is fastest here: measured once, then remembered.

No table could tell: it depends on the processor's instructions, the number of cores, the versions
installed and the networks. What was measured lies in ``backends.json`` of the cache folder
(``CKD_CACHE``, or ``ckd`` in the user's cache) under a key of all these; removing it measures anew.
"""

import hashlib
import importlib.metadata
import json
import logging
import platform
from collections.abc import Callable, Mapping
from typing import Final

from ckd.contract.errors import CkdError
from ckd.runtime.backends.selection import BACKENDS, installed
from ckd.runtime.cache import cache_folder, replace_file
from ckd.runtime.cpu import cpu_name, usable_cores

#: Choices kept; a machine that makes more is trying bundles out.
MAX_REMEMBERED: Final = 64
#: Another backend must be this much faster than the first one to be taken: noise is no reason.
WORTH_A_CHANGE: Final = 0.95

_log = logging.getLogger(__name__)


def fastest_backend(
    bundle: str, precision: str, num_threads: int | None, measure: Callable[[str], float]
) -> str:
    """Name of the backend to take.

    Args:
        bundle: digest of what is to be run.
        precision: to be computed in.
        num_threads: of one engine; None for every usable core.
        measure: gives a backend's time for one image in milliseconds; a `CkdError` from it means
            that this backend cannot run the bundle in this precision.

    Raises:
        CkdError: no backend can run it; what the first one said.
    """
    names = installed()
    if len(names) < 2:
        return names[0] if names else "auto"  # `open_backend` says what to install
    taken_ms = remembered(bundle, precision, num_threads)
    if taken_ms is None:
        taken_ms, refused = {}, []
        for name in names:
            try:
                taken_ms[name] = measure(name)
            except CkdError as error:
                refused.append(error)
        if not taken_ms:
            raise refused[0]
        _remember(_key(bundle, precision, num_threads), taken_ms)
        _log.info("backends measured, ms an image: %s", taken_ms)
    return best_of(taken_ms)


def best_of(taken_ms: Mapping[str, float]) -> str:
    """The fastest, or the first of `BACKENDS` where the fastest is hardly faster."""
    first = next(name for name in BACKENDS if name in taken_ms)
    fastest = min(taken_ms, key=lambda name: taken_ms[name])
    return fastest if taken_ms[fastest] < WORTH_A_CHANGE * taken_ms[first] else first


def remembered(bundle: str, precision: str, num_threads: int | None) -> dict[str, float] | None:
    """Times measured earlier on this machine with these versions; None if there are none."""
    found = _load().get(_key(bundle, precision, num_threads))
    if not isinstance(found, dict) or not found or not set(found) <= set(BACKENDS):
        return None
    if not all(isinstance(ms, int | float) for ms in found.values()):
        return None
    return {name: float(ms) for name, ms in found.items()}


def _key(bundle: str, precision: str, num_threads: int | None) -> str:
    versions = []
    for name in installed():
        try:
            versions.append(f"{name} {importlib.metadata.version(BACKENDS[name][0])}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(name)  # under another name, as onnxruntime-gpu is
    threads = num_threads or usable_cores()
    facts = [bundle, precision, threads, platform.machine(), cpu_name(), *versions]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _load() -> dict[str, object]:
    try:
        found = json.loads((cache_folder() / "backends.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(key: str, taken_ms: Mapping[str, float]) -> None:
    kept = [item for item in _load().items() if item[0] != key][-(MAX_REMEMBERED - 1) :]
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = {**dict(kept), key: dict(taken_ms)}
        replace_file(folder / "backends.json", json.dumps(record, indent=1).encode())
    except OSError as error:
        _log.info("the choice of a backend cannot be remembered: %s", error)
