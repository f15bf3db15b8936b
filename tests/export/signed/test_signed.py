"""Signed bundles: with keys a device runs nothing else, and it says who signed."""

import base64
import functools
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from keys import Key
from tests.export.signed.calls import command, zipped
from tests.runtime.photographs import edit_spec, photo

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError, EnvironmentUnusable, UsageError
from ckd.contract.hashes import HASHES, SIGNATURE, write_hashes
from ckd.export.sign import sign_bundle
from ckd.runtime import Cascade
from ckd.runtime.cli import cli as ckd_run
from ckd.runtime.signed import Trust, open_bundle, signature_shown
from ckd.runtime.signed.envelope import Envelope

# What is accepted


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_bundle_that_a_trusted_key_signed_is_opened(signed: Path, key: Key, as_zip: bool) -> None:
    bundle = open_bundle(zipped(signed) if as_zip else signed, [key.public])
    bundle.verify()
    assert (bundle.signer, bundle.spec.serial) == ("maker.pub", 3)
    assert signature_shown(bundle) == "signed by maker.pub"


def test_findings_say_whether_the_signature_was_checked(signed: Path, key: Key) -> None:
    for keys, trust in (([key.public], "signed"), (None, "unsigned")):
        with Cascade.load(signed, "onnxruntime", num_threads=1, trusted_keys=keys) as cascade:
            assert cascade.predict(photo(0)).as_dict()["trust"] == trust


def test_the_library_that_defines_the_format_accepts_it_and_we_what_it_signs(
    signed: Path, key: Key, tmp_path: Path
) -> None:
    from model_signing import hashing, signing, verifying

    (signed / "plan").mkdir()  # an empty folder is no file
    files: Any = hashing.Config()  # type: ignore[no-untyped-call]
    files.set_ignored_paths(paths=[signed / SIGNATURE], ignore_git_paths=False)
    verifier: Any = verifying.Config()  # type: ignore[no-untyped-call]
    verifier.use_elliptic_key_verifier(public_key=key.public)
    verifier.set_hashing_config(files).verify(signed, signed / SIGNATURE)
    (signed / SIGNATURE).unlink()
    signer: Any = signing.Config()  # type: ignore[no-untyped-call]
    signer.use_elliptic_key_signer(private_key=key.private)
    signer.set_hashing_config(files).sign(signed, signed / SIGNATURE)
    assert open_bundle(signed, [key.public]).signer == "maker.pub"


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_keys_of_larger_curves_serve(
    tiny_bundle: Path, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    large = Key.made(tmp_path, "large", curve)
    sign_bundle(tiny_bundle, tmp_path / "out", large.private)
    assert open_bundle(tmp_path / "out", [large.public]).signer == "large.pub"


# What is refused


def change(name: str, content: bytes) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return changed


def rehashed(edit: Callable[[Path], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        edit(folder)
        write_hashes(folder)

    return changed


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "changed and hashed again": (
        rehashed(change("model_card.md", b"other")), "'hashes.json' is not as it was signed"
    ),
    "added": (rehashed(change("new.txt", b"new")), "is not as it was signed by maker.pub"),
    "removed": (
        rehashed(lambda folder: (folder / "model_card.md").unlink()), "is not as it was signed"
    ),
    "a file no run reads": (change("model_card.md", b"# Other"), "model_card.md was changed"),
    "a network": (change("cls.fp32.onnx", b"other"), "cls.fp32.onnx was changed"),
    "lacks a file": (lambda folder: (folder / "model_card.md").unlink(), "_card.md is missing"),
    "more than its list": (change("more.txt", b"more"), "'more.txt' is not listed"),
    "not signed": (lambda folder: (folder / SIGNATURE).unlink(), "is not signed"),
    "empty": (change(SIGNATURE, b""), "is malformed"),
    "not JSON": (change(SIGNATURE, b"\xff\x00"), "is malformed"),
    "deep": (change(SIGNATURE, b"[" * 100_000), "is malformed"),
    "other JSON": (change(SIGNATURE, b"{}"), "is malformed"),
    "huge": (change(SIGNATURE, b" " * (5 << 20)), "is malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "told"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("as_zip", [False, True])
def test_what_was_not_signed_is_refused(
    signed: Path, key: Key, edit: Callable[[Path], None], told: str, as_zip: bool
) -> None:
    edit(signed)
    with pytest.raises(BundleError, match=told) as refused:
        open_bundle(zipped(signed) if as_zip else signed, [key.public])
    assert str(refused.value).isprintable()


def test_another_key_is_refused_and_several_may_be_trusted(
    signed: Path, key: Key, tmp_path: Path
) -> None:
    other = Key.made(tmp_path, "other")
    with pytest.raises(
        BundleError, match=r"by a key that is not trusted here; trusted: other\.pub"
    ):
        open_bundle(signed, [other.public])
    assert open_bundle(signed, [other.public, key.public]).signer == "maker.pub"


def test_nothing_but_the_list_is_read_before_the_signature_is_checked(
    signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    (signed / "cascade.json").write_text("not JSON")
    write_hashes(signed)
    read: list[str] = []
    raw = Bundle.raw

    def watched(self: Bundle, name: str, limit: int) -> bytes:
        read.append(name)
        return raw(self, name, limit)

    monkeypatch.setattr(Bundle, "raw", watched)
    with pytest.raises(BundleError, match="is not as it was signed"):
        open_bundle(signed, [key.public])
    assert read == [HASHES, SIGNATURE]


def test_nothing_is_parsed_of_a_bundle_of_which_a_part_was_changed(
    signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    (signed / "model_card.md").write_text("# Other")
    parsed: list[bytes] = []
    monkeypatch.setattr("ckd.contract.bundle.check_whole", parsed.append)
    monkeypatch.setattr("ckd.contract.bundle.spec_from_json", parsed.append)
    with pytest.raises(BundleError, match=r"model_card\.md was changed"):
        open_bundle(signed, [key.public])
    assert not parsed


def forged(signed: Path, key: Key, **changes: Any) -> None:
    """Sign a changed statement with the right key: it must fit the bundle all the same."""
    tree = json.loads((signed / SIGNATURE).read_bytes())
    statement = json.loads(base64.b64decode(tree["dsseEnvelope"]["payload"]))
    for place, value in changes.items():
        *path, last = place.split("__")
        inner = statement
        for step in path:
            inner = inner[int(step)] if step.isdigit() else inner[step]
        inner[last] = value
    payload = json.dumps(statement).encode()
    envelope = Envelope(payload, b"", "", ())
    signature = key.pair.sign(envelope.signed_bytes, ec.ECDSA(hashes.SHA256()))
    tree["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    tree["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (signed / SIGNATURE).write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "states"),
        ({"predicateType": "https://example.org/other"}, "states 'https://example.org/other'"),
        ({"subject": []}, "is malformed"),
        ({"subject__0__digest": {"sha256": "0" * 64}}, "a digest that is not that of its list"),
        ({"predicate__serialization__method": "shards"}, "lists parts of files"),
        ({"predicate__resources": []}, "a digest that is not that of its list"),
        ({"predicate__resources__0__algorithm": "blake2"}, "has the digest"),
        ({"predicate__resources__0__digest": "0"}, "has the digest"),
        ({"predicate__resources": [1]}, "is malformed"),
        ({"predicate": None}, "is malformed"),
    ],
)
def test_a_statement_of_another_kind_is_refused_whoever_signed_it(
    signed: Path, key: Key, changes: dict[str, Any], told: str
) -> None:
    forged(signed, key)
    assert open_bundle(signed, [key.public]).signer
    forged(signed, key, **changes)
    with pytest.raises(BundleError, match=told):
        open_bundle(signed, [key.public])


def test_no_damage_to_a_signature_passes_or_raises_anything_else(signed: Path, key: Key) -> None:
    content = (signed / SIGNATURE).read_bytes()
    tree = json.loads(content)
    rng, trust, bundle = random.Random(3), Trust([key.public]), Bundle(signed)
    digests = {name: record.sha256 for name, record in bundle.files.items()}
    digests[HASHES] = bundle.digest()
    assert trust(content, digests)
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.choice((0, 1, 1, 5))] = rng.randbytes(rng.choice((0, 1, 1, 2)))
        try:
            trust(bytes(damaged), digests)
        except BundleError:
            continue
        assert json.loads(damaged)["dsseEnvelope"]["payload"] == tree["dsseEnvelope"]["payload"]


# Keys, and the environment


def test_what_is_no_key_is_refused(tmp_path: Path, key: Key) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other = tmp_path / "ed25519.pub"
    pair = ed25519.Ed25519PrivateKey.generate().public_key()
    other.write_bytes(pair.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    large = Key.made(tmp_path, "p256k1", ec.SECP256K1()).public
    text = tmp_path / "text"
    text.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    for path in (other, large, text, key.private, tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="expected a public key of P-256, P-384 or P-521"):
            Trust([path])
    with pytest.raises(UsageError, match=r"holds a private key, .* makes its public half\)"):
        Trust([key.private])
    with pytest.raises(UsageError, match="no such file"):
        Trust([tmp_path / "none"])
    with pytest.raises(UsageError, match="no key is named"):
        Trust([])
    with pytest.raises(UsageError, match="trusted_keys is empty"):
        open_bundle(None, [])


def test_the_environment_names_keys_and_the_least_serial_number(
    signed: Path, tiny_bundle: Path, key: Key, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("CKD_TRUSTED_KEYS", str(key.public))
    monkeypatch.chdir(tmp_path)
    assert open_bundle(signed).signer == "maker.pub"
    with pytest.raises(BundleError, match="is not signed, and keys are configured"):
        Cascade.load(tiny_bundle)
    code, out, _ = command(monkeypatch, capsys, ckd_run, "info", signed)
    assert (code, "signed by maker.pub" in out) == (0, True)
    code, _, err = command(monkeypatch, capsys, ckd_run, "info", tiny_bundle)
    assert (code, "is not signed" in err) == (5, True)
    code, out, _ = command(monkeypatch, capsys, ckd_run, "doctor", tiny_bundle)
    assert (code, "is not signed" in out) == (5, True)
    monkeypatch.setenv("CKD_MIN_SERIAL", "3")
    assert open_bundle(signed).spec.serial == 3
    monkeypatch.setenv("CKD_MIN_SERIAL", "4")
    with pytest.raises(BundleError, match="has the serial number 3, and CKD_MIN_SERIAL is 4"):
        open_bundle(signed)
    for wrong in ("", " ", "-1", "1.5", "x", "9" * 30):
        monkeypatch.setenv("CKD_MIN_SERIAL", wrong)
        with pytest.raises(UsageError, match="expected a whole number"):
            open_bundle(signed)


def test_without_keys_a_bundle_is_said_to_be_unsigned(
    signed: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for bundle, told in ((signed, "its signature was not checked"), (tiny_bundle, "unsigned")):
        for words in (("info", bundle), ("doctor", bundle)):
            _, out, _ = command(monkeypatch, capsys, ckd_run, *words)
            assert told in out


def test_keys_without_the_package_that_checks_them_end_with_3(
    signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.x509.verification", None)
    with pytest.raises(EnvironmentUnusable, match=r"pip install '\.\[signed\]'") as told:
        open_bundle(signed, [key.public])
    assert told.value.exit_code == 3
    assert open_bundle(signed).signer is None


def test_a_bundle_that_calls_itself_a_path_is_refused(bundle_copy: Path) -> None:
    for name in ("..", ".", "a\\b", "../x"):
        edit_spec(bundle_copy, functools.partial(dict.update, name=name))
        with pytest.raises(BundleError, match="is no name"):
            Bundle(bundle_copy)
