"""Which of the installed backends is fastest on this machine: measured once, then remembered.

No table could say it, because it depends on the processor's instructions, the number of cores, the
installed versions and the networks. The times are kept in ``backends`` of the cache folder
(``CKD_CACHE``, or ``ckd`` in the user's cache), one file for each combination of these; if a file
is removed, its backends are measured again.
"""

import logging
import platform
from collections.abc import Callable, Mapping
from typing import Any, Final

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError, CkdError, GateFailed
from ckd.runtime.backends.selection import BACKENDS, installed, open_backend
from ckd.runtime.cache import Store, cache_folder
from ckd.runtime.chain import Chain
from ckd.runtime.cpu import cpu_name, kernel_instructions, usable_cores
from ckd.runtime.proving import certify

#: Number of choices that are kept; the oldest are removed.
MAX_REMEMBERED: Final = 64
#: A backend replaces the first one only if its time is below this share of the first one's, so
#: that measurement noise does not decide.
WORTH_A_CHANGE: Final = 0.95

_log = logging.getLogger(__name__)


def fastest_backend(
    bundle: str, precision: str, num_threads: int | None, measure: Callable[[str], float]
) -> str:
    """Name of the backend to take.

    Args:
        bundle: digest of the bundle that is to be run.
        precision: the networks compute in it.
        num_threads: CPU threads of one engine; None for every usable core.
        measure: gives a backend's time for one image in milliseconds; a `CkdError` from it means
            that this backend cannot run the bundle in this precision.

    Raises:
        CkdError: no backend can run the bundle; this is the error of the first one.
    """
    names = installed()
    if len(names) < 2:
        return names[0] if names else "auto"  # `open_backend` says what to install
    taken_ms = remembered(bundle, precision, num_threads)
    if taken_ms is None:
        taken_ms, errors = {}, []
        for name in names:
            try:
                taken_ms[name] = measure(name)
            except CkdError as error:
                # The others say what a backend is not made for.
                if isinstance(error, BundleError | GateFailed):
                    _log.warning("%s is not taken: %s", name, error)
                errors.append(error)
        if not taken_ms:
            raise errors[0]
        _store().write(_key(bundle, precision, num_threads), taken_ms)
        _log.info("backends measured, ms an image: %s", taken_ms)
    return best_of(taken_ms)


def networks_ms(bundle: Bundle, precision: str, num_threads: int | None, name: str) -> float:
    """A CPU backend's time for one image in milliseconds; arguments as of `fastest_backend`.

    Raises:
        CkdError: the backend cannot run the bundle in this precision, or its engines failed the
            acceptance cases.
    """
    with Chain.of(bundle, open_backend(name, "cpu", num_threads), precision) as chain:
        certify(chain, bundle)
        return chain.measure_ms()


def best_of(taken_ms: Mapping[str, float]) -> str:
    """The fastest, or the first of `BACKENDS` where the fastest is hardly faster."""
    first = next(name for name in BACKENDS if name in taken_ms)
    fastest = min(taken_ms, key=lambda name: taken_ms[name])
    return fastest if taken_ms[fastest] < WORTH_A_CHANGE * taken_ms[first] else first


def remembered(bundle: str, precision: str, num_threads: int | None) -> dict[str, float] | None:
    """Times measured earlier on this machine with these versions; None if there are none."""
    taken_ms = _store().read(_key(bundle, precision, num_threads))
    if not isinstance(taken_ms, dict) or not taken_ms or not set(taken_ms) <= set(BACKENDS):
        return None
    if not all(isinstance(ms, int | float) for ms in taken_ms.values()):
        return None
    return {name: float(ms) for name, ms in taken_ms.items()}


def _store() -> Store:
    return Store(cache_folder() / "backends", limit=MAX_REMEMBERED)


def _key(bundle: str, precision: str, num_threads: int | None) -> dict[str, Any]:
    import importlib.metadata  # which loads a mail parser: not for those who name a backend

    versions = []
    for name in installed():
        try:
            versions.append(f"{name} {importlib.metadata.version(BACKENDS[name][0])}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(name)  # under another name, as onnxruntime-gpu is
    return {
        "bundle": bundle,
        "precision": precision,
        "threads": num_threads or usable_cores(),
        "machine": platform.machine(),
        "processor": cpu_name(),
        "instructions": kernel_instructions(),
        "backends": versions,
    }
