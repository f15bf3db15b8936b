"""Bundles are signed: by the command, and in their place for a release."""

import shutil
from pathlib import Path

import pytest
from keys import Key
from tests.export.signed.calls import command, zipped

from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.hashes import SIGNATURE
from ckd.export.cli import cli as ckd_export
from ckd.export.release import sign_embedded
from ckd.runtime.signed import open_bundle


def test_sign_and_verify(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hidden = Key.made(tmp_path, "hidden", password=b"sesame")
    words = ("sign", zipped(Path(shutil.copytree(tiny_bundle, tmp_path / "b"))), "--out")
    out_path = tmp_path / "made/out"
    code, _, err = command(
        monkeypatch, capsys, ckd_export, *words, out_path, "--key", hidden.private
    )
    assert code == 2, err
    assert "cannot sign with it" in err
    assert "its password in CKD_KEY_PASSWORD" in err
    assert not out_path.exists()
    assert list(out_path.parent.iterdir()) == []
    monkeypatch.setenv("CKD_KEY_PASSWORD", "sesame")
    code, out, err = command(
        monkeypatch, capsys, ckd_export, *words, out_path, "--key", hidden.private, "--serial", 12
    )
    assert code == 0, err
    assert "signed by hidden.key" in out
    code, out, _ = command(
        monkeypatch, capsys, ckd_export, "verify", out_path, "--key", hidden.public
    )
    assert (code, "signed by hidden.pub" in out) == (0, True)
    code, _, err = command(
        monkeypatch, capsys, ckd_export, "verify", tiny_bundle, "--key", hidden.public
    )
    assert (code, "is not signed" in err) == (5, True)
    code, _, err = command(
        monkeypatch, capsys, ckd_export, *words, out_path, "--key", hidden.private
    )
    assert (code, "exists" in err) == (2, True)


def test_what_is_made_of_a_signed_bundle_is_not_signed_and_that_is_said(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from tests.capture.rig import LIMITS

    from ckd.contract.fitted_sections import write_fitted

    fitted = tmp_path / "fitted"
    fitted.mkdir()
    write_fitted(fitted, {"capture": LIMITS}, {})
    (fitted / "capture.md").write_text("made up")
    code, _, err = command(
        monkeypatch, capsys, ckd_export, "sections", signed, "--from", fitted, "--out",
        tmp_path / "new",
    )  # fmt: skip
    assert code == 0, err
    assert "does not hold for what is made of it; `ckd-export sign` makes a new one" in err
    assert not (tmp_path / "new" / SIGNATURE).exists()
    Bundle(tmp_path / "new").verify()


def test_a_release_key_that_cannot_sign_changes_nothing(bundle_copy: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no key")
    before = {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="cannot sign with it"):
        sign_embedded(bundle_copy, bad)
    assert {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("is_kept", [False, True])
def test_the_bundle_of_a_release_is_signed_in_its_place(
    bundle_copy: Path, key: Key, is_kept: bool
) -> None:
    given = key.private if is_kept else None
    for _ in range(2):  # a second time takes the place of the first
        said = sign_embedded(bundle_copy, given)
    assert ("release key" if is_kept else "ephemeral key") in said
    public = bundle_copy.parent / "release.pub"
    bundle = open_bundle(bundle_copy, [public])
    bundle.verify()
    card = bundle.read("model_card.md").decode()
    assert card.count("## Signature") == 1
    assert card.rstrip().endswith(said)
    assert (public.read_bytes() == key.public.read_bytes()) == is_kept
    assert "PRIVATE" not in "".join(
        path.read_text(errors="replace") for path in bundle_copy.parent.iterdir() if path.is_file()
    )
