"""Whether a bundle was signed by somebody whom this device trusts."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ckd.contract.errors import BundleError, EnvironmentUnusable, UsageError
from ckd.contract.hashes import SIGNATURE
from ckd.runtime.signed.envelope import Envelope

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509.verification import Policy

#: Of the curves of the standard: which hash is signed.
_HASHES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_MOST_KEY_BYTES: Final = 1 << 20


class Trust:
    """Public keys, and certificates of those who may issue certificates to signers.

    Args:
        files: in PEM, each with one public key (of the curves P-256, P-384 or P-521), or with
            certificates.

    Raises:
        EnvironmentUnusable: the package `cryptography` is not installed.
        UsageError: there is no file, or one cannot be read or holds neither.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        try:
            from cryptography.x509.verification import ExtensionPolicy  # noqa: F401
        except ImportError as error:
            raise EnvironmentUnusable(
                "keys are configured, and cryptography from version 45 on, which checks "
                "signatures, is not installed; in the folder of this project: "
                "`pip install '.[signed]'`"
            ) from error
        self._keys: dict[str, tuple[EllipticCurvePublicKey, str]] = {}
        self._roots: list[x509.Certificate] = []
        for path in files:
            self._take(path)
        if not self._keys and not self._roots:
            raise UsageError("no key is named; name a file with a public key, or with certificates")

    def __call__(self, signature: bytes | None, digests: Mapping[str, str]) -> str:
        """Check a signature over the files of a bundle.

        Args:
            signature: the file; None for a bundle without one.
            digests: SHA-256 of every file by name.

        Returns:
            Who signed: the file of the key, or the subject of the certificate.

        Raises:
            BundleError: it is not signed, by nobody who is trusted, or other files were signed.
        """
        if signature is None:
            raise BundleError(
                "is not signed, and keys are configured; sign it, or take a signed one"
            )
        try:
            envelope = Envelope.of(signature)
            key, name = self._key_of(envelope)
            _check(key, envelope)
            signed = envelope.digests()
        except ValueError as error:
            raise BundleError(f"the signature in {SIGNATURE} {error}") from error
        if signed != digests:
            other = min(
                name for name in signed.keys() | digests if signed.get(name) != digests.get(name)
            )
            raise BundleError(f"{other!r} is not as it was signed by {name}; take the bundle again")
        return name

    def _take(self, path: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        try:
            if not path.exists():
                raise ValueError("no such file")
            if not path.is_file() or path.stat().st_size > _MOST_KEY_BYTES:
                raise ValueError("no file of keys")
            content = path.read_bytes()
            if b"PRIVATE KEY-----" in content:
                raise ValueError(
                    "it holds a private key, which belongs on no device; "
                    "`openssl ec -pubout` makes its public half"
                )
            if b"BEGIN CERTIFICATE" in content:
                self._roots += x509.load_pem_x509_certificates(content)
                return
            key = serialization.load_pem_public_key(content)
            if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _HASHES:
                raise ValueError("a key of another kind")
        except Exception as error:  # the library has many for odd keys
            raise UsageError(
                f"{path}: expected a public key of P-256, P-384 or P-521 or certificates, in PEM "
                f"({str(error)[:120]})"
            ) from error
        self._keys[key_hash(key)] = key, path.name

    def _key_of(self, envelope: Envelope) -> "tuple[EllipticCurvePublicKey, str]":
        """The key that must have signed; `ValueError` if it is not trusted."""
        if envelope.certificates:
            try:
                return self._certified(envelope.certificates)
            except _Refused:
                raise
            except Exception as error:  # the library has many for odd certificates
                raise _Refused("is by a certificate that cannot be read") from error
        if envelope.key_hash not in self._keys:
            known = ", ".join(name for _, name in self._keys.values()) or "certificates alone"
            raise ValueError(
                f"is by a key that is not trusted here; trusted: {known}; take a bundle that one "
                "of these signed, or trust its maker's key"
            )
        return self._keys[envelope.key_hash]

    def _certified(self, chain: tuple[bytes, ...]) -> "tuple[EllipticCurvePublicKey, str]":
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.x509.verification import (
            Criticality,
            ExtensionPolicy,
            PolicyBuilder,
            Store,
            VerificationError,
        )

        if not self._roots:
            raise _Refused("is by a certificate, and no certificate is trusted here")
        first, *others = map(x509.load_der_x509_certificate, chain)
        if not _may_sign(first):
            raise _Refused(
                "is by a certificate that is not for signing; it needs the key usage "
                "digitalSignature and, if it names extended ones, codeSigning"
            )
        issuer = (
            ExtensionPolicy.permit_all()
            .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
            .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_issues)
            .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_issues_signers)
        )
        # A device's clock may be wrong, and a bundle outlives the certificate of who signed it:
        # the chain is looked at as it was when that certificate was issued.
        policy = (
            PolicyBuilder()
            .store(Store(self._roots))
            .time(first.not_valid_before_utc)
            .extension_policies(ca_policy=issuer, ee_policy=ExtensionPolicy.permit_all())
        )
        try:
            policy.build_client_verifier().verify(first, others)
        except VerificationError as error:
            raise _Refused("is by a certificate that nobody trusted issued") from error
        key = first.public_key()
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise _Refused("is by a certificate with a key of another kind")
        return key, first.subject.rfc4514_string()


class _Refused(ValueError):
    """A certificate that was read, and is not accepted."""


def _may_sign(certificate: "x509.Certificate") -> bool:
    """Whether it is for signatures, and if it says for which ones, also for code."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    extensions = {one.oid: one.value for one in certificate.extensions}
    usage = extensions.get(x509.KeyUsage.oid)
    if not isinstance(usage, x509.KeyUsage) or not usage.digital_signature:
        return False
    purposes = extensions.get(x509.ExtendedKeyUsage.oid)
    if not isinstance(purposes, x509.ExtendedKeyUsage):
        return purposes is None
    return ExtendedKeyUsageOID.CODE_SIGNING in purposes


def _check_issues(
    policy: "Policy", certificate: "x509.Certificate", usage: "x509.KeyUsage | None"
) -> None:
    """Raise `ValueError` for an issuer that says what it is for, and not for certificates."""
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("is not for certificates")


def _check_issues_signers(
    policy: "Policy", certificate: "x509.Certificate", purposes: "x509.ExtendedKeyUsage | None"
) -> None:
    """Likewise for one whose certificates are for other purposes, as those of web servers."""
    from cryptography.x509.oid import ExtendedKeyUsageOID

    fitting = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes is not None and fitting.isdisjoint(purposes):
        raise ValueError("issues certificates for other purposes")


def key_hash(key: "EllipticCurvePublicKey") -> str:
    """SHA-256 of a public key's PEM, in hexadecimal digits, by which signatures name it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _check(key: "EllipticCurvePublicKey", envelope: Envelope) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    algorithm = getattr(hashes, _HASHES[key.curve.name])()
    try:
        key.verify(envelope.signature, envelope.signed_bytes, ECDSA(algorithm))
    except InvalidSignature:
        raise ValueError("is not by the key that it names, or was changed") from None
