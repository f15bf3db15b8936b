"""Makes the folder of a release: python -m ckd.export.supply.release_folder OUT, in a clone.

It holds wheel and sources, the lists by which devices are installed, the list of what is installed
(SBOM), the sums of all these, and with CKD_RELEASE_KEY the signature of the sums. The same commit
gives the same bytes, wherever and whenever it is made, by the same Python and machine.
"""

import argparse
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ckd import console
from ckd.contract.bundle import check_new
from ckd.contract.errors import UsageError
from ckd.contract.version import DISTRIBUTION
from ckd.contract.whole_file import new_folder
from ckd.export.release import RELEASE_KEY
from ckd.export.sign import KEY_PASSWORD, private_key
from ckd.export.supply.pins import FOLDER, list_name, wheels_of
from ckd.export.supply.sbom import write_sbom
from ckd.export.supply.tools import output_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"


def write_release(
    project: Path, out: Path, key: Path | None = None, password: str | None = None
) -> list[str]:
    """Write a release of the last commit of a clone; packages come from the package index.

    Args:
        project: the clone, in which nothing was changed; what is built is a clone of that, so
            that files which Git ignores or was told not to show are not in it.
        out: folder to create.
        key: private key in PEM; None for a release that is not signed.
        password: of the key, if it is encrypted.

    Returns:
        The names of the files.

    Raises:
        UsageError: the clone was changed, ``out`` exists, or the key cannot be used.
        EnvironmentUnusable: a program is missing or failed, such as pip without a network.
        GateFailed: what a device installs breaks the rule of licences.
    """
    check_new(out)
    signing = None if key is None else private_key(key, password)
    if output_of("git", "status", "--porcelain", folder=project):
        raise UsageError(
            f"{project} was changed; commit that or put it away, as a release is of a commit"
        )
    committed = output_of("git", "log", "-1", "--format=%ct", folder=project)
    made = {"SOURCE_DATE_EPOCH": committed.strip()}
    with tempfile.TemporaryDirectory() as work, new_folder(out) as new:
        clone = Path(work) / "clone"
        output_of("git", "clone", "--quiet", project.resolve(), clone)
        pins = clone / FOLDER / list_name(sys.version_info[:2], platform.machine())
        new.path.mkdir()
        output_of(
            "python", "-m", "build", "--wheel", "--sdist", "--no-isolation", "--outdir", new.path,
            clone, variables=made,
        )  # fmt: skip
        (wheel,) = new.path.glob("*.whl")
        python = _device(Path(work), pins, wheel)
        wheels = {**wheels_of(pins), DISTRIBUTION: sha256(wheel)}
        name = f"{DISTRIBUTION}-{pins.stem}.cdx.json"
        write_sbom(python, new.path / name, wheels, made)
        for path in sorted((clone / FOLDER).glob("*.txt")):
            shutil.copyfile(path, new.path / f"requirements-{path.name}")
        sums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(new.path.iterdir()))
        (new.path / SUMS).write_text(sums, encoding="utf-8")
        if signing is not None:
            (new.path / SIGNATURE).write_bytes(signature(sums.encode(), signing))
        new.keep()
    return sorted(path.name for path in out.iterdir())


def _device(work: Path, pins: Path, wheel: Path) -> Path:
    """The Python of an environment as on a device, without pip, whose version would vary."""
    output_of("python", "-m", "venv", "--without-pip", work / "device")
    python = work / "device" / "bin" / "python"
    pip = ("python", "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    output_of(*pip, "--requirement", pins)
    output_of(*pip, "--no-index", "--no-deps", wheel)
    return python


def sha256(path: Path) -> str:
    """A file's SHA-256, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def signature(content: bytes, key: "EllipticCurvePrivateKey") -> bytes:
    """A signature that `openssl dgst -sha256 -verify` checks; the same each time, by RFC 6979."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def main() -> None:
    """Write a release of the clone in the working directory."""
    parser = argparse.ArgumentParser(prog="python -m ckd.export.supply.release_folder")
    parser.add_argument("out", type=Path, help="folder to create")
    out = parser.parse_args().out
    key = os.environ.get(RELEASE_KEY)
    password = os.environ.get(KEY_PASSWORD) or None
    names = write_release(Path.cwd(), out, Path(key) if key else None, password)
    said = "signed" if SIGNATURE in names else f"not signed, as {RELEASE_KEY} names no key"
    console.show(f"{out}: {len(names)} files, {said}")


if __name__ == "__main__":
    console.run(main)
