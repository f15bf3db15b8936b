"""Writes the lists by which devices are installed, with a hash for every package: `make pins`.

uv finds what a device needs in the versions of constraints.txt, for each Python and architecture,
and which wheels fit there. Of each package the one is listed that pip would take.
"""

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from ckd import console
from ckd.contract.errors import GateFailed, InputError, UsageError
from ckd.contract.whole_file import replace_file
from ckd.export.supply.installed import comparable
from ckd.export.supply.tools import output_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What is installed on a device: networks run on its processor, and signatures are checked.
EXTRAS: Final = ("cpu", "signed")
PYTHONS: Final = ((3, 10), (3, 11), (3, 12))
MACHINES: Final = ("x86_64", "aarch64")
#: The oldest C library that devices may have, 2.34: JetPack 6 has 2.35.
GLIBC_MINOR: Final = 34
#: In a clone.
FOLDER: Final = Path("runtime/requirements")
_PINNED: Final = re.compile(r"^(\S+)==\S+ \\\n    --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
_EXPECTED: Final = "expected a list of `make pins`"
_OLD_NAMES: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def list_name(python: tuple[int, int], machine: str) -> str:
    """The file name of a list, such as "cp310-aarch64.txt"."""
    return f"cp{python[0]}{python[1]}-{machine}.txt"


def wheels_of(path: Path) -> dict[str, str]:
    """Package -> SHA-256 of its wheel, by a list.

    Raises:
        InputError: it cannot be read, or is no such list.
    """
    try:
        found = _PINNED.findall(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); {_EXPECTED}") from error
    if not found:
        raise InputError(f"{path} names no package with its hash; {_EXPECTED}")
    return {comparable(name): digest for name, digest in found}


def pinned(project: Path, python: tuple[int, int], machine: str) -> str:
    """The text of the list for one Python and architecture; asks the package index.

    Raises:
        EnvironmentUnusable: uv is missing or found no solution.
        GateFailed: of a package no wheel fits.
    """
    version = ".".join(map(str, python))
    with tempfile.TemporaryDirectory() as work:
        lock = Path(work) / "pylock.toml"
        output_of(
            "python", "-m", "uv", "pip", "compile", project / "pyproject.toml",
            *(argument for extra in EXTRAS for argument in ("--extra", extra)),
            "--constraints", project / "constraints.txt", "--only-binary", ":all:",
            "--python", sys.executable, "--python-version", version,
            "--python-platform", f"{machine}-manylinux_2_{GLIBC_MINOR}",
            "--format", "pylock.toml", "--output-file", lock, "--no-config", "--quiet",
        )  # fmt: skip
        packages = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    ranks = {tag: rank for rank, tag in enumerate(_tags(python, machine))}
    return (
        f"# Python {version} on Linux {machine} with glibc 2.{GLIBC_MINOR} or newer: what "
        f"ckd-cascades[{','.join(EXTRAS)}] needs.\n"
        "# Written by `make pins`; how to install from it: docs/release.md\n"
        "--require-hashes\n--only-binary :all:\n"
    ) + "".join(
        f"{package['name']}=={package['version']} \\\n"
        f"    --hash=sha256:{best_wheel(package, ranks)['hashes']['sha256']}\n"
        for package in sorted(packages, key=lambda package: str(package["name"]))
    )


def _tags(python: tuple[int, int], machine: str) -> Iterator[Tag]:
    """What wheels may be made for, best first, as pip orders it."""
    platforms = []
    for minor in range(GLIBC_MINOR, 4, -1):
        platforms.append(f"manylinux_2_{minor}_{machine}")
        if minor in _OLD_NAMES:
            platforms.append(f"{_OLD_NAMES[minor]}_{machine}")
    interpreter = f"cp{python[0]}{python[1]}"
    yield from cpython_tags(python, [interpreter], platforms)
    yield from compatible_tags(python, interpreter, platforms)


def best_wheel(package: Mapping[str, Any], ranks: Mapping[Tag, int]) -> Mapping[str, Any]:
    """Of a package in a lock file the wheel that pip would take.

    Args:
        package: with its wheels.
        ranks: what wheels may be made for; the best is 0.

    Raises:
        GateFailed: none fits.
    """

    def rank(wheel: Mapping[str, Any]) -> int:
        name = unquote(urlsplit(wheel["url"]).path).rpartition("/")[2]
        return min(ranks.get(tag, len(ranks)) for tag in parse_wheel_filename(name)[3])

    best: Mapping[str, Any] = min(package["wheels"], key=rank)
    if rank(best) == len(ranks):
        raise GateFailed(
            f"{package['name']} {package['version']}: no wheel of it fits; name a version in "
            "constraints.txt that has one"
        )
    return best


def main() -> None:
    """Write all lists of the clone in the working directory."""
    project = Path.cwd()
    if not (project / FOLDER).is_dir():
        raise UsageError(f"{project} is no clone of ckd; expected {FOLDER} in it")
    for python in PYTHONS:
        for machine in MACHINES:
            path = FOLDER / list_name(python, machine)
            text = pinned(project, python, machine)
            replace_file(project / path, text.encode())
            console.show(f"{path}: {text.count('--hash')} packages")


if __name__ == "__main__":
    console.run(main)
