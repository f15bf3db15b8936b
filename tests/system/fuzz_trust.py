"""Cases of the fuzz test for what decides what a device runs: networks, signatures, caches, units.

Each kind makes its input of a sound one, and gives what reads it.
"""

import base64
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.serialization import Encoding
from damage import Case, damaged, harms, odd_json, odd_text, taken
from fuzz_units import UNIT
from keys import Key, certificate
from long_run import BUNDLE

from ckd.contract.bundle import Bundle
from ckd.contract.hashes import HASHES, SIGNATURE, write_hashes
from ckd.export.release import sign_embedded
from ckd.runtime.cache import Store
from ckd.runtime.cases import CASES, golden_images
from ckd.runtime.certificate import SUFFIX, Certificate, certificates, prune_certificates
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.signed import Trust
from ckd.runtime.signed.envelope import Envelope
from ckd.runtime.unit import read_unit


class TrustCases:
    """The kinds, and the sound inputs that they damage."""

    def __init__(self, folder: Path) -> None:
        signed = folder / "signed"
        shutil.copytree(BUNDLE, signed)
        # All keys are of fixed numbers, and signatures the same for the same: so are the cases.
        root, signer, maker = (
            Key.made(folder, name, secret=number)
            for number, name in enumerate(("root", "signer", "maker"), start=2**200)
        )
        sign_embedded(signed, maker.private)
        self._trust = Trust([folder / "release.pub"])
        bundle = Bundle(signed)
        self._signature = _signed_by(maker, json.loads((signed / SIGNATURE).read_bytes()))
        self._digests = {name: record.sha256 for name, record in bundle.files.items()}
        self._digests[HASHES] = bundle.digest()
        files = [
            certificate(folder, "maker", root, "maker", root, is_root=True),
            certificate(folder, "signer", signer, "maker", root),
        ]
        self._roots = Trust([files[0]])
        self._pems = [*(file.read_bytes() for file in files), root.public.read_bytes()]
        self._chain = [
            x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)
            for file in reversed(files)
        ]
        self._signed = json.loads(_signed_by(signer, json.loads(self._signature)))
        assert self._roots(self._certified(self._chain), self._digests) == "CN=signer"
        self._bundle = Bundle(BUNDLE)
        self.kinds: dict[str, Case] = {
            "network": self.network,
            "acceptance": self.acceptance,
            "signature": self.signature,
            "unit": self.unit,
            "cache": self.cache,
            "certificate": self.certificate,
            "x509": self.x509,
            "keys": self.keys,
        }

    def network(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged network of a bundle whose list was made anew, as an attacker makes it."""
        return self._rehashed(rng, folder, "cls.fp32.onnx", lambda bundle: bundle.verify())

    def acceptance(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """Damaged acceptance cases, likewise."""
        return self._rehashed(rng, folder, CASES, golden_images)

    def signature(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged signature, or one over other files."""
        content, digests = self._signature, self._digests
        if harms(rng) and rng.random() < 0.1:
            digests = {**digests, rng.choice(sorted(digests)): "0" * 64}
        else:
            content = damaged(rng, content)
        (folder / SIGNATURE).write_bytes(content)
        return lambda: self._trust(content, digests)

    def unit(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A unit file with odd values, or damaged bytes."""
        path, text = folder / "unit.toml", UNIT
        if rng.random() < 0.5:
            path.write_bytes(odd_text(rng, text.decode()).encode("utf-8", "replace"))
        else:
            path.write_bytes(damaged(rng, text))
        return lambda: read_unit(path)

    def cache(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged record of what was measured here, which counts as absent."""
        store, key = Store(folder / "records"), {"bundle": "a", "threads": 2}
        store.write(key, {"onnxruntime": 20.5, "openvino": 12.25})
        path = store.path(key)
        path.write_bytes(damaged(rng, path.read_bytes()))
        return lambda: taken(store.read(key), "absent")

    def certificate(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A certificate of engines with odd values, whole as a record, which counts as absent."""
        digest = self._bundle.digest()
        sound = Certificate(
            bundle="tiny", bundle_sha256=digest, precision="fp16", machine={"gpu": "A"},
            engines={"cls": "0" * 64}, num_cases=3, num_failed=0, tensor_errors={"logits": 0.1},
            edge_errors={"gate1": None}, repeat_errors={"logits": 0.0},
            mask_jaccard=0.99, mask_dice=0.995, probability_shift=0.001, decision_flips=0,
            made="2026-01-01T00:00:00+00:00", ckd="1",
        ).as_dict()  # fmt: skip
        tree: object = sound
        for _ in range(rng.randint(0, 3)):
            tree = odd_json(rng, tree)
        fields = tree if isinstance(tree, dict) else sound
        names = ("bundle", "bundle_sha256", "precision", "machine", "engines")
        key = {name: fields[name] for name in names if name in fields}
        value = {name: part for name, part in fields.items() if name not in names}
        os.environ["CKD_CACHE"] = str(folder)
        Store(EngineCache().folder, SUFFIX).write(key, value)

        def read() -> None:
            found = certificates(self._bundle)
            assert all(one.passed for one in found), found
            prune_certificates()
            taken(found, "absent")

        return read

    def x509(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A signature by a certificate, of which one of the chain is damaged, lacks or is twice."""
        chain = list(self._chain)
        at = rng.randrange(len(chain))
        match rng.randrange(6) if harms(rng) else 2:
            case 0:
                del chain[at]
            case 1:
                chain.append(chain[at])
            case _:
                chain[at] = damaged(rng, chain[at])
        content = self._certified(chain)
        (folder / SIGNATURE).write_bytes(content)

        def read() -> None:
            # What is accepted is the sound chain, with more or less than it needs.
            assert self._roots(content, self._digests) == "CN=signer"
            assert self._chain[0] in chain

        return read

    def keys(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged file of a key or certificate that is trusted."""
        path = folder / "trusted.pem"
        path.write_bytes(damaged(rng, rng.choice(self._pems)))
        return lambda: Trust([path])

    def _certified(self, chain: list[bytes]) -> bytes:
        listed = [{"rawBytes": _base64(one)} for one in chain]
        material = {"x509CertificateChain": {"certificates": listed}}
        return json.dumps({**self._signed, "verificationMaterial": material}).encode()

    def _rehashed(
        self, rng: random.Random, folder: Path, name: str, read: Callable[[Bundle], object]
    ) -> Callable[[], object]:
        bundle = folder / "bundle"
        shutil.copytree(BUNDLE, bundle)
        path = bundle / name
        path.write_bytes(damaged(rng, path.read_bytes()))
        write_hashes(bundle)
        return lambda: read(Bundle(bundle))


def _signed_by(key: Key, tree: dict[str, Any]) -> bytes:
    """A signature file with the signature of a key in the place of its own."""
    to_sign = Envelope.of(json.dumps(tree).encode()).signed_bytes
    signature = key.pair.sign(to_sign, ECDSA(hashes.SHA256(), deterministic_signing=True))
    tree["dsseEnvelope"]["signatures"][0]["sig"] = _base64(signature)
    return json.dumps(tree).encode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
