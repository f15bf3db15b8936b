"""Signs a bundle, so that devices can tell who made it: OpenSSF Model Signing v1.0, offline.

The library `model-signing` signs; what devices check with is `ckd.runtime.signed`, and a bundle is
only written if that accepts it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ckd.contract.bundle import CASCADE, Bundle, check_new
from ckd.contract.card import MODEL_CARD
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import SIGNATURE, write_hashes
from ckd.contract.whole_file import new_folder
from ckd.runtime.signed import Trust

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

#: Holds the password of an encrypted key; a command line would show it to everybody.
KEY_PASSWORD: Final = "CKD_KEY_PASSWORD"
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


def sign_bundle(
    source: Path,
    out: Path,
    key: Path,
    *,
    password: str | None = None,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
    serial: int | None = None,
    card: str | None = None,
) -> str:
    """Write a signed copy of a bundle.

    Args:
        source: folder or .zip file.
        out: folder to create.
        key: private key of P-256, P-384 or P-521, in PEM.
        password: of the key, if it is encrypted.
        certificate: of the key, in PEM; without one the signature names the key alone.
        chain: with a certificate, those of its issuers up to that which devices trust, one at
            least.
        serial: number of the release, for `CKD_MIN_SERIAL`; None leaves it as it is.
        card: text of the model card; None leaves it as it is.

    Returns:
        The file of the key, or the subject of the certificate.

    Raises:
        BundleError: the source is incomplete, altered or not understood.
        UsageError: ``out`` exists, or key or certificate cannot be used.
    """
    check_new(out)
    if (certificate is None) != (not chain):
        raise UsageError("a certificate and the chain of its issuers go together; give both")
    public = public_half(key, password)
    bundle = Bundle(source)
    with new_folder(out) as new, tempfile.TemporaryDirectory() as keys:
        bundle.copy_to(new.path)
        if serial is not None:
            text = spec_to_json(replace(bundle.spec, serial=serial))
            (new.path / CASCADE).write_text(text)
        if card is not None:
            (new.path / MODEL_CARD).write_text(card)
        write_hashes(new.path)
        trusted = Path(keys) / "trusted.pem"
        try:
            _sign(new.path, key, password, certificate, chain)
            # What devices are told to trust must accept it.
            trusted.write_bytes(chain[-1].read_bytes() if chain else public)
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(key, error) from error
        try:
            signed = Bundle(new.path, Trust([trusted]))
        except BundleError as error:  # of a folder that nobody will see
            told = str(error).removeprefix(f"{new.path}: ")
            raise UsageError(f"{certificate or key}: {told}") from error
        new.keep()
    return key.name if certificate is None else str(signed.signer)


def _sign(
    folder: Path, key: Path, password: str | None, certificate: Path | None, chain: Sequence[Path]
) -> None:
    from model_signing import hashing, signing

    config = signing.Config()  # type: ignore[no-untyped-call]
    if certificate is None:
        secret = None if password is None else password.encode()
        config.use_elliptic_key_signer(private_key=key, password=secret)  # type: ignore[arg-type]
    else:  # the library reads such keys without a password
        config.use_certificate_signer(
            private_key=key, signing_certificate=certificate, certificate_chain=chain
        )
    signature = folder / SIGNATURE
    files = hashing.Config()  # type: ignore[no-untyped-call]
    files.set_ignored_paths(paths=[signature], ignore_git_paths=False)
    config.set_hashing_config(files).sign(folder, signature)


def private_key(path: Path, password: str | None = None) -> "EllipticCurvePrivateKey":
    """A private key, in PEM, as signatures are made with.

    Raises:
        UsageError: it cannot be read, or is not of P-256, P-384 or P-521.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = None if password is None else password.encode()
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), secret)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("another kind of key")
        if private.curve.name not in _CURVES:
            raise ValueError(f"a key of {private.curve.name}")
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, error) from error
    return private


def public_half(key: Path, password: str | None = None) -> bytes:
    """The public key of a private one, both in PEM.

    Raises:
        UsageError: as `private_key`.
    """
    from cryptography.hazmat.primitives import serialization

    return (
        private_key(key, password)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _unusable(key: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{key}: cannot sign with it ({str(error)[:120] or type(error).__name__}); expected a "
        f"private key of P-256, P-384 or P-521 in PEM, with its password in {KEY_PASSWORD} if it "
        "is encrypted, and its certificate if one is named"
    )
