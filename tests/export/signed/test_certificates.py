"""Whose certificates make a signer of a bundle."""

import base64
import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from keys import Key, certificate

from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import SIGNATURE
from ckd.export.sign import sign_bundle
from ckd.runtime.signed import Trust, open_bundle


def test_a_certificate_serves_that_somebody_trusted_issued(
    tiny_bundle: Path, tmp_path: Path, key: Key
) -> None:
    root, signer, stranger = (Key.made(tmp_path, name) for name in ("root", "signer", "stranger"))
    roots = [
        certificate(tmp_path, one, of, one, of, is_root=True)
        for one, of in (("maker", root), ("other", stranger))
    ]
    own = certificate(tmp_path, "signer", signer, "maker", root)
    out = tmp_path / "out"
    sign_bundle(tiny_bundle, out, signer.private, certificate=own, chain=[roots[0]])
    assert open_bundle(out, [roots[0]]).signer == "CN=signer"
    assert open_bundle(out, [roots[1], roots[0], key.public]).signer == "CN=signer"
    with pytest.raises(BundleError, match="is by a certificate that nobody trusted issued"):
        open_bundle(out, [roots[1]])
    with pytest.raises(BundleError, match="no certificate is trusted here"):
        open_bundle(out, [signer.public])
    other = certificate(tmp_path, "no signer", signer, "maker", root, signs=False)
    with pytest.raises(UsageError) as refused:
        sign_bundle(tiny_bundle, tmp_path / "no", signer.private, certificate=other, chain=roots)
    assert str(refused.value).startswith(f"{other}: ")
    assert "not for signing" in str(refused.value)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("issuer", "serves"),
    [
        ({}, True),
        ({"issues": False}, False),
        ({"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}, False),
        ({"purposes": [ExtendedKeyUsageOID.CODE_SIGNING]}, True),
    ],
)
def test_who_may_issue_for_web_servers_alone_makes_nobody_a_signer(
    tiny_bundle: Path, tmp_path: Path, issuer: dict[str, Any], serves: bool
) -> None:
    root, between, signer = (Key.made(tmp_path, name) for name in ("root", "between", "signer"))
    top = certificate(tmp_path, "maker", root, "maker", root, is_root=True, years=9)
    middle = certificate(
        tmp_path, "between", between, "maker", root, is_root=True, years=9, **issuer
    )
    own = certificate(tmp_path, "signer", signer, "between", between)
    expected = nullcontext() if serves else pytest.raises(UsageError, match="nobody trusted")
    with expected:
        sign_bundle(
            tiny_bundle, tmp_path / "out", signer.private, certificate=own, chain=[middle, top]
        )
    assert (tmp_path / "out").exists() == serves


def test_a_hostile_certificate_is_refused_as_any_other(
    signed: Path, tmp_path: Path, key: Key
) -> None:
    """The library has errors of its own for odd certificates."""
    root = Key.made(tmp_path, "root")
    trust = Trust([certificate(tmp_path, "maker", root, "maker", root, is_root=True)])
    own = certificate(tmp_path, "signer", key, "maker", root)
    pem = own.read_text().splitlines()[1:-1]
    der = base64.b64decode("".join(pem))
    tree = json.loads((signed / SIGNATURE).read_bytes())
    # Says how many of the signature's last bits do not count: the library takes one that is 0.
    unused = len(der) - len(x509.load_der_x509_certificate(der).signature) - 1
    rng = random.Random(5)
    for _ in range(500):
        odd = bytearray(der)
        at = rng.choice([place for place in range(len(der)) if place != unused])
        odd[at] ^= rng.randrange(1, 256)
        chain = [{"rawBytes": base64.b64encode(bytes(odd)).decode()}]
        tree["verificationMaterial"] = {"x509CertificateChain": {"certificates": chain}}
        with pytest.raises(BundleError, match=r"is by a certificate|is not by the key"):
            trust(json.dumps(tree).encode(), {})
