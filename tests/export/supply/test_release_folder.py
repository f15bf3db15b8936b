"""Clones of one commit give the same bytes, and the signature is one for OpenSSL."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from keys import Key
from services import needs_program, service_missing

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.export.sign import private_key
from ckd.export.supply import release_folder
from ckd.export.supply.installed import installed_in
from ckd.export.supply.release_folder import SIGNATURE, SUMS, signature, write_release
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
    signed.write_bytes(signature(sums.read_bytes(), private_key(key.private)))
    assert signed.read_bytes() == signature(sums.read_bytes(), private_key(key.private))
    assert is_accepted(sums, signed, key)
    sums.write_bytes(b"1" * 64 + b"  a.whl\n")
    assert not is_accepted(sums, signed, key)


def test_a_key_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    key = Key.made(tmp_path, "secret", password=b"word")
    assert signature(b"", private_key(key.private, "word"))
    other = Key.made(tmp_path, "other", ec.SECP256K1())
    for path, password, said in (
        (key.private, None, "secret.key"),
        (key.private, "other", "secret.key"),
        (tmp_path / "none", None, "none"),
        (other.private, None, "other.key"),
    ):
        # No clone: that is looked at later.
        with pytest.raises(UsageError, match=rf"{said}: cannot sign with it .*; expected a pri"):
            write_release(tmp_path / "no clone", tmp_path / "out", path, password)
    for curve in (ec.SECP384R1(), ec.SECP521R1()):
        assert private_key(Key.made(tmp_path, curve.name, curve).private).curve.name == curve.name


def git(clone: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", clone, *who, *words], check=True)


def test_a_release_is_of_a_commit(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", clone], check=True)
    (clone / "new.py").write_text("")
    with pytest.raises(UsageError, match=r"clone was changed; commit that or put it away"):
        write_release(clone, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_git_does_not_show_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages are built by the working folder's own rules, which know of no such file."""
    clone = tmp_path / "clone"
    (clone / "ckd").mkdir(parents=True)
    for name in ("hatch_build.py", "LICENSE"):
        (clone / name).write_bytes((ROOT / name).read_bytes())
    (clone / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "ckd-cascades"\nversion = "1"\n'
        '[tool.hatch.build.hooks.custom]\npath = "hatch_build.py"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["ckd"]\n'
    )
    (clone / ".gitignore").write_text("__pycache__/\n")
    (clone / "ckd" / "own.py").write_text("")
    subprocess.run(["git", "init", "-q", clone], check=True)
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "first")
    (clone / "ckd" / "hidden.py").write_text("")
    (clone / ".git" / "info" / "exclude").write_text("hidden.py\n")
    (clone / "ckd" / "untracked.py").write_text("")
    git(clone, "config", "status.showUntrackedFiles", "no")
    commit = (clone / ".git" / "refs" / "heads").iterdir()
    built: list[str] = []

    def look(work: Path, pins: Path, wheel: Path) -> Path:
        with zipfile.ZipFile(wheel) as file:
            built.extend(file.namelist())
            built.append(file.read("ckd/contract/commit.txt").decode())
        with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as sources:
            built.extend(sources.getnames())
            stamp = sources.extractfile("ckd_cascades-1/commit.txt")
            assert stamp is not None
            built.append(stamp.read().decode())
        raise EnvironmentUnusable("far enough")

    monkeypatch.setattr(release_folder, "_device", look)
    with pytest.raises(EnvironmentUnusable, match="far enough"):
        write_release(clone, clone / "dist" / "release")
    assert {"ckd/own.py", "ckd_cascades-1/ckd/own.py"} <= set(built)
    assert not [name for name in built if "hidden" in name or "untracked" in name]
    assert built.count(next(commit).read_text()) == 2  # and not "...-changed"
    assert not (clone / "dist" / "release").exists()


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
        if done.returncode == 3 and " pip --python " in done.stderr:
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
