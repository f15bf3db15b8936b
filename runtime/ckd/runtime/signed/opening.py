"""The one way in which a bundle is opened to be run: keys and serial number are asked for first."""

import os
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError, UsageError
from ckd.runtime.signed.trust import Trust

#: Files of keys that are trusted, separated as in PATH; and the least serial number.
TRUSTED_KEYS: Final = "CKD_TRUSTED_KEYS"
MIN_SERIAL: Final = "CKD_MIN_SERIAL"


def embedded_bundle() -> Path:
    """Folder of the bundle that is installed with `ckd`."""
    return Path(str(resources.files("ckd.runtime") / "bundles" / "ckdnet-mobile"))


def open_bundle(
    path: Path | str | None = None, trusted_keys: Sequence[Path | str] | None = None
) -> Bundle:
    """Open a bundle, by default the one that comes with `ckd`.

    With keys it must be signed by one of them, which is checked before anything else of it is
    read; without, it is opened unsigned (`Bundle.signer` is None).

    Args:
        path: folder or .zip file.
        trusted_keys: files in PEM, see `Trust`; None for those that CKD_TRUSTED_KEYS names.

    Raises:
        BundleError: the bundle is incomplete, altered or not understood, not signed by a trusted
            key, or older than CKD_MIN_SERIAL allows.
        EnvironmentUnusable: there are keys, and the package `cryptography` is missing.
        UsageError: a key cannot be read, or CKD_MIN_SERIAL is no number.
    """
    if trusted_keys is None and (named := os.environ.get(TRUSTED_KEYS)) is not None:
        trusted_keys = [key for key in named.split(os.pathsep) if key]
        if not trusted_keys:  # as from a variable that was expanded to nothing
            raise UsageError(f"{TRUSTED_KEYS} is set and names no key; name one, or unset it")
    elif trusted_keys is not None and not trusted_keys:
        raise UsageError("trusted_keys is empty; None is for the keys that CKD_TRUSTED_KEYS names")
    trust = None if trusted_keys is None else Trust(map(Path, trusted_keys))
    bundle = Bundle(embedded_bundle() if path is None else Path(path), trust)
    least = _least_serial()
    if bundle.spec.serial < least:
        raise BundleError(
            f"{bundle.path}: has the serial number {bundle.spec.serial}, and {MIN_SERIAL} is "
            f"{least}; a newer bundle took its place"
        )
    return bundle


def open_source(path: Path | str | None, say: Callable[[str], None]) -> Bundle:
    """Open a bundle of which another one is made: what its signature says does not hold for that.

    Args:
        path: as `open_bundle` takes it.
        say: told that the new one is not signed, if this one is.

    Raises:
        CkdError: as `open_bundle`.
    """
    bundle = open_bundle(path)
    if bundle.has_signature:
        say(
            f"note: the signature of {bundle.path} does not hold for what is made of it; "
            "`ckd-export sign` makes a new one"
        )
    return bundle


def signature_shown(bundle: Bundle) -> str:
    """What is known of who made a bundle, for people."""
    if bundle.signer is not None:
        return f"signed by {bundle.signer}"
    if bundle.has_signature:
        return f"unsigned: its signature was not checked, as {TRUSTED_KEYS} names no key"
    return "unsigned"


def _least_serial() -> int:
    text = os.environ.get(MIN_SERIAL, "0").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UsageError(f"{MIN_SERIAL}={text[:40]!r}: expected a whole number, 0 or more")
    return int(text)
