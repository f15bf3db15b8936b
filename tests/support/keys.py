"""Keys and certificates for tests, made when they are needed."""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
_MADE = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


@dataclass(frozen=True)
class Key:
    """A key pair in two files."""

    private: Path
    public: Path
    pair: ec.EllipticCurvePrivateKey

    @classmethod
    def made(
        cls, folder: Path, name: str, curve: ec.EllipticCurve | None = None,
        password: bytes | None = None, secret: int | None = None,
    ) -> "Key":  # fmt: skip
        """A new pair, or the one of a secret number."""
        curve = curve or ec.SECP256R1()
        pair = ec.derive_private_key(secret, curve) if secret else ec.generate_private_key(curve)
        hidden = serialization.BestAvailableEncryption(password) if password else None
        private, public = folder / f"{name}.key", folder / f"{name}.pub"
        private.write_bytes(
            pair.private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, hidden or serialization.NoEncryption()
            )
        )
        public.write_bytes(
            pair.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return cls(private, public, pair)


def certificate(
    folder: Path, name: str, key: Key, issuer: str, issued_by: Key, *, is_root: bool = False,
    signs: bool = True, years: int = 1, issues: bool | None = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
) -> Path:  # fmt: skip
    """A certificate of a key; it ran out long ago, as that of an old bundle will have."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
    usage = x509.KeyUsage(
        digital_signature=signs and not is_root, content_commitment=False,
        key_encipherment=not signs, data_encipherment=False, key_agreement=False,
        key_cert_sign=is_root if issues is None else issues, crl_sign=is_root,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.pair.public_key())
        .serial_number(_serial(name, key))
        .not_valid_before(_MADE)
        .not_valid_after(_MADE + datetime.timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issued_by.pair.public_key()),
            critical=False,
        )
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
    made = builder.sign(issued_by.pair, hashes.SHA256(), ecdsa_deterministic=True)
    path = folder / f"{name}.crt"
    path.write_bytes(made.public_bytes(PEM))
    return path


def _serial(name: str, key: Key) -> int:
    """Another one for every name and key, and the same for the same."""
    return int.from_bytes(
        hashlib.sha256(name.encode() + key.public.read_bytes()).digest()[:16], "big"
    )
