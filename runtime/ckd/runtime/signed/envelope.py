"""What a signature says: OpenSSF Model Signing v1.0, read without a library.

The file is a Sigstore bundle in JSON. In it lies a DSSE envelope, whose payload is an in-toto
statement that lists the SHA-256 of every file. Specifications: Sigstore bundle v0.3; DSSE v1.0.0,
"Pre-Authentication Encoding"; in-toto Statement v1; predicate https://model_signing/signature/v1.0.

Nothing here checks a signature; `ckd.runtime.signed.trust` does.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckd.contract.parsing import parse_json

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
#: Files of a bundle, and certificates up to its root, are far fewer.
_MOST_FILES: Final = 10_000
_MOST_CERTIFICATES: Final = 10
#: What a tree of another form leads to.
_MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class _Odd(ValueError):
    """Something that we looked for, and say in our own words."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature and what is signed.

    Attributes:
        payload: the statement, as it was signed.
        signature: over `signed_bytes`.
        key_hash: SHA-256 in hexadecimal digits of the public key's PEM; empty with certificates.
        certificates: in DER, that of the signer first, each signed by the next one.
    """

    payload: bytes
    signature: bytes
    key_hash: str
    certificates: tuple[bytes, ...]

    @classmethod
    def of(cls, content: bytes) -> "Envelope":
        """The envelope in a signature file.

        Raises:
            ValueError: it is no such file.
        """
        try:
            tree = parse_json(content)
            if tree["mediaType"] != _MEDIA_TYPE:
                raise _Odd(f"is of the type {str(tree['mediaType'])[:60]!r}")
            envelope, material = tree["dsseEnvelope"], tree["verificationMaterial"]
            if envelope["payloadType"] != _PAYLOAD_TYPE:
                raise _Odd(f"signs {str(envelope['payloadType'])[:60]!r}")
            (signature,) = envelope["signatures"]
            chain = material.get("x509CertificateChain", {}).get("certificates", [])
            if len(chain) > _MOST_CERTIFICATES:
                raise _Odd(f"holds {len(chain)} certificates")
            return cls(
                payload=_decoded(envelope["payload"]),
                signature=_decoded(signature["sig"]),
                key_hash=str(material.get("publicKey", {}).get("hint", "")),
                certificates=tuple(_decoded(one["rawBytes"]) for one in chain),
            )
        except _MALFORMED as error:
            raise ValueError(_told(error)) from error

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over: type and payload with their lengths (DSSE, PAE)."""
        head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(self.payload)} "
        return head.encode() + self.payload

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file by name, as the statement says. Check the signature first.

        Raises:
            ValueError: the statement is of another kind, or contradicts itself.
        """
        try:
            statement: Mapping[str, Any] = parse_json(self.payload)
            if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
                raise _Odd(f"states {str(statement['predicateType'])[:60]!r}")
            (subject,) = statement["subject"]
            predicate = statement["predicate"]
            if predicate["serialization"]["method"] != "files":
                raise _Odd("lists parts of files")
            resources = predicate["resources"]
            if len(resources) > _MOST_FILES:
                raise _Odd(f"lists {len(resources)} files")
            digests = {str(one["name"]): _sha256_of(one) for one in resources}
            if len(digests) != len(resources):
                raise _Odd("lists a file twice")
            together = b"".join(bytes.fromhex(_sha256_of(one)) for one in resources)
            if hashlib.sha256(together).hexdigest() != subject["digest"]["sha256"]:
                raise _Odd("has a digest that is not that of its list")
        except _MALFORMED as error:
            raise ValueError(_told(error)) from error
        return digests


def _sha256_of(resource: Mapping[str, Any]) -> str:
    digest = resource["digest"]
    if resource["algorithm"] != "sha256" or not re.fullmatch("[0-9a-f]{64}", digest):
        raise _Odd(f"has the digest {str(digest)[:80]!r}")
    return str(digest)


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("holds no text where base64 is expected")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _Odd("holds no base64 where that is expected") from None


def _told(error: Exception) -> str:
    """Our own words; of what Python says that it is malformed."""
    return str(error) if isinstance(error, _Odd) else "is malformed"
