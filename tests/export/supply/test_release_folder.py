"""A release is the same to the byte, wherever it is made, and its signature is one for OpenSSL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from keys import Key
from services import needs_program, service_missing

from ckd.contract.errors import UsageError
from ckd.export.supply.installed import installed_in
from ckd.export.supply.release_folder import (
    SIGNATURE,
    SUMS,
    signature,
    write_release,
)
from ckd.export.supply.sbom import check_sbom

ROOT = Path(__file__).parents[3]


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key.made(tmp_path, "release")


def is_accepted(sums: Path, signed: Path, key: Key) -> bool:
    openssl = needs_program("openssl")
    command: list[str | Path] = [openssl, "dgst", "-sha256", "-verify", key.public]
    command += ["-signature", signed, sums]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_openssl_accepts_the_signature_of_these_bytes_alone(tmp_path: Path, key: Key) -> None:
    sums, signed = tmp_path / SUMS, tmp_path / SIGNATURE
    sums.write_bytes(b"0" * 64 + b"  a.whl\n")
    signed.write_bytes(signature(sums.read_bytes(), key.private))
    assert signed.read_bytes() == signature(sums.read_bytes(), key.private)
    assert is_accepted(sums, signed, key)
    sums.write_bytes(b"1" * 64 + b"  a.whl\n")
    assert not is_accepted(sums, signed, key)


def test_an_encrypted_key_wants_its_password(tmp_path: Path) -> None:
    key = Key.made(tmp_path, "secret", password=b"word")
    assert signature(b"", key.private, "word")
    for password in (None, "other"):
        with pytest.raises(
            UsageError, match=r"secret\.key: cannot sign with it .*; expected a pri"
        ):
            signature(b"", key.private, password)
    with pytest.raises(UsageError, match="none: cannot sign with it"):
        signature(b"", tmp_path / "none")


def test_a_release_is_of_a_commit(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", clone], check=True)
    (clone / "new.py").write_text("")
    with pytest.raises(UsageError, match=r"clone was changed; commit that or put it away"):
        write_release(clone, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.system
@pytest.mark.timeout(900)
def test_two_clones_give_the_same_bytes(tmp_path: Path, key: Key) -> None:
    made = []
    # Other places, times, time zones and rights of files.
    for place, umask, zone in (("one", 0o022, "UTC"), ("further/down/two", 0o077, "Asia/Tokyo")):
        clone, out = tmp_path / place, tmp_path / f"out-{zone[:3]}"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True, umask=umask)
        done = subprocess.run(
            [sys.executable, "-m", "ckd.export.supply.release_folder", out], cwd=clone,
            env={**os.environ, "CKD_RELEASE_KEY": str(key.private), "TZ": zone}, umask=umask,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode == 3:
            service_missing(f"no package registry: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
    assert is_accepted(out / SUMS, out / SIGNATURE, key)
    checked = ["sha256sum", "--check", "--strict", SUMS]
    assert subprocess.run(checked, cwd=out, capture_output=True).returncode == 0
    listed = {line.split("  ")[1] for line in (out / SUMS).read_text().splitlines()}
    assert listed == made[0].keys() - {SUMS, SIGNATURE}

    # A device that is installed from it, elsewhere, is what its SBOM says.
    (wheel,), (sbom,) = out.glob("*.whl"), out.glob("*.cdx.json")
    tag = sbom.name.split(".")[0].partition("cascades-")[2]
    python = tmp_path / "device" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "device"], check=True)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    subprocess.run([*pip, "-r", out / f"requirements-{tag}.txt"], check=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    assert "ckd-cascades" in check_sbom(python, sbom)
    assert "pip" not in installed_in(python)
