"""What is installed in an environment of Python, and whether its files are those of the wheels."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from typing import Final

from ckd.contract.errors import EnvironmentUnusable, GateFailed
from ckd.contract.parsing import parse_json
from ckd.export.supply.tools import output_of

#: What an installer writes beside a wheel's files, by where and how it installs.
_INSTALLERS: Final = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
_ASK: Final = "import json, sys; print(json.dumps(sys.path))"


@dataclass(frozen=True, slots=True)
class Installed:
    """A package in an environment.

    Attributes:
        name: as it is compared: "typing-extensions".
        version: of the package.
        digest: SHA-256 over the sums and names of its files, in hex; the same wherever a wheel is
            installed. Commands in `bin`, which name the environment, and compiled sources are not
            in it.
        distribution: its metadata and files.
    """

    name: str
    version: str
    digest: str
    distribution: Distribution


def installed_in(python: Path) -> dict[str, Installed]:
    """All packages of an environment by name, in alphabetical order.

    Args:
        python: of the environment.

    Raises:
        EnvironmentUnusable: it cannot be started, or is no Python.
        GateFailed: a package is there twice, a file is missing or not what was installed, or a file
            belongs to no package.
    """
    try:
        told = parse_json(output_of(python, "-c", _ASK))
        paths = list(dict.fromkeys(Path(path).resolve() for path in told if path))
    except (ValueError, TypeError) as error:
        raise EnvironmentUnusable(f"{python} is no Python; name that of the environment") from error
    found: dict[str, Installed] = {}
    known: set[Path] = set()
    for distribution in distributions(path=[str(path) for path in paths]):
        name = comparable(distribution.name)
        if name in found:
            raise GateFailed(f"{name} is installed twice, as {found[name].version} and another")
        sums = dict(_sums(distribution))
        lines = (f"{digest}  {file}\n" for file, digest in sorted(sums.items()))
        whole = hashlib.sha256("".join(lines).encode()).hexdigest()
        found[name] = Installed(name, distribution.version, whole, distribution)
        known |= {_where(distribution, file) for file in _listed(distribution)}
    for folder in paths:
        if folder.name in ("site-packages", "dist-packages"):
            _check_strangers(folder, known)
    return dict(sorted(found.items()))


def comparable(name: str) -> str:
    """A package's name as it is compared, see PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _listed(distribution: Distribution) -> list[PurePosixPath]:
    if distribution.files is None:
        raise GateFailed(
            f"{distribution.name} {distribution.version} has no list of its files; "
            "install it by pip"
        )
    return list(distribution.files)


def _where(distribution: Distribution, file: PurePosixPath) -> Path:
    return Path(str(distribution.locate_file(file)))


def _sums(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Name and SHA-256, in hex, of each file of a package."""
    _listed(distribution)
    for file in distribution.files or ():
        in_info = file.parent.name.endswith(".dist-info") and file.name in _INSTALLERS
        if in_info or ".." in file.parts or "__pycache__" in file.parts:
            continue
        what = f"{distribution.name} {distribution.version}: {file}"
        try:
            digest = hashlib.sha256(_where(distribution, file).read_bytes())
        except OSError as error:
            raise GateFailed(f"{what} cannot be read: {error.strerror}; install it anew") from error
        text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        if file.hash is not None and (file.hash.mode, file.hash.value) != ("sha256", text):
            raise GateFailed(f"{what} is not what was installed; install it anew")
        yield str(file), digest.hexdigest()


def _check_strangers(folder: Path, known: set[Path]) -> None:
    for path in sorted(folder.rglob("*")):
        is_file = path.is_symlink() or not path.is_dir()  # of a link to a folder Python imports
        if is_file and path not in known and "__pycache__" not in path.parts:
            raise GateFailed(
                f"{path.relative_to(folder)} in {folder} belongs to no package; remove it, or make "
                "the environment anew"
            )
