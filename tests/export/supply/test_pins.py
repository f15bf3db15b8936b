"""The lists by which devices are installed agree with constraints.txt and pyproject.toml."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag

from ckd.contract.errors import GateFailed, InputError
from ckd.export.supply.installed import comparable
from ckd.export.supply.pins import (
    EXTRAS,
    FOLDER,
    MACHINES,
    PYTHONS,
    best_wheel,
    list_name,
    wheels_of,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ALL = [(python, machine) for python in PYTHONS for machine in MACHINES]
HERE = {name: str(text) for name, text in default_environment().items()}


def machine_of(python: tuple[int, int], machine: str) -> dict[str, str]:
    version = ".".join(map(str, python))
    return {
        **HERE, "python_version": version, "python_full_version": f"{version}.0",
        "implementation_version": f"{version}.0", "platform_machine": machine,
    }  # fmt: skip


def applies(
    requirement: Requirement, machine: dict[str, str], extras: tuple[str, ...] = ()
) -> bool:
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate({**machine, "extra": extra}) for extra in (*extras, "")
    )


def versions(path: Path) -> dict[str, str]:
    text = re.sub(r" \\\n +--hash=sha256:[0-9a-f]{64}$", "", path.read_text(), flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith(("#", "--"))]
    exact = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9a-z.]+)", line) for line in lines]
    assert all(exact), [line for line, one in zip(lines, exact, strict=True) if not one]
    return {one[1]: one[2] for one in exact if one}


def asked_for(machine: dict[str, str]) -> Iterator[Requirement]:
    """What pyproject.toml asks for on a device."""
    optional = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *(line for one in EXTRAS for line in optional[one])]:
        if applies(requirement := Requirement(text), machine):
            yield requirement


def test_there_is_a_list_for_every_python_and_machine() -> None:
    assert {path.name for path in (ROOT / FOLDER).iterdir()} == {list_name(*one) for one in ALL}


@pytest.mark.parametrize(("python", "machine"), ALL)
def test_a_list_agrees_with_what_is_asked_for(python: tuple[int, int], machine: str) -> None:
    path = ROOT / FOLDER / list_name(python, machine)
    listed = versions(path)
    there = machine_of(python, machine)
    for requirement in asked_for(there):
        assert listed[comparable(requirement.name)] in requirement.specifier, requirement
    pinned = {
        comparable(constraint.name): constraint.specifier
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#") and applies(constraint := Requirement(line), there)
    }
    assert {name: f"=={version}" for name, version in listed.items()} == {
        name: str(pinned.get(name)) for name in listed
    }, "after a change of constraints.txt or pyproject.toml: make pins"


@pytest.mark.parametrize(("python", "machine"), ALL)
def test_a_list_is_strict_and_names_no_server(python: tuple[int, int], machine: str) -> None:
    path = ROOT / FOLDER / list_name(python, machine)
    options = [line for line in path.read_text().splitlines() if line.startswith("--")]
    assert options == ["--require-hashes", "--only-binary :all:"]
    assert "://" not in path.read_text()
    hashes = wheels_of(path)
    assert hashes.keys() == versions(path).keys()
    assert len(set(hashes.values())) == len(hashes)


def test_the_list_for_this_python_holds_all_that_is_needed_and_nothing_else() -> None:
    """By the metadata of what is installed here, whose versions are the same."""
    path = ROOT / FOLDER / list_name(sys.version_info[:2], "x86_64")
    there = machine_of(sys.version_info[:2], "x86_64")
    needed: set[str] = set()
    pending = list(asked_for(there))
    while pending:
        requirement = pending.pop()
        name = comparable(requirement.name)
        if name not in needed:
            needed.add(name)
            further = map(Requirement, requires(name) or ())
            pending += [one for one in further if applies(one, there, tuple(requirement.extras))]
    assert versions(path).keys() == needed


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none cannot be read \(.*expected a list of `make pins`"):
        wheels_of(tmp_path / "none")
    (tmp_path / "plain.txt").write_text("numpy==2.0\n")
    with pytest.raises(InputError, match=r"plain\.txt names no package with its hash; expected a"):
        wheels_of(tmp_path / "plain.txt")


def test_the_best_wheel_is_one_that_fits() -> None:
    ranks = {Tag("cp310", "cp310", "manylinux2014_x86_64"): 0, Tag("py3", "none", "any"): 1}
    names = ("any", "manylinux2014_x86_64", "win_amd64")
    plain, fits, other = (
        {"url": f"https://example.org/a/thing-1.0-{tag}-{name}.whl"}
        for tag, name in zip(("py3-none", "cp310-cp310", "cp310-cp310"), names, strict=True)
    )
    package = {"name": "thing", "version": "1.0", "wheels": [other, plain, fits]}
    assert best_wheel(package, ranks) is fits
    assert best_wheel({**package, "wheels": [other, plain]}, ranks) is plain
    with pytest.raises(GateFailed, match=r"^thing 1\.0: no wheel of it fits; name a version in"):
        best_wheel({**package, "wheels": [other]}, ranks)


def test_workflows_name_actions_by_commit() -> None:
    actions = [
        line.split("uses:")[1]
        for file in (ROOT / ".github").rglob("*.yml")
        for line in file.read_text().splitlines()
        if "uses:" in line
    ]
    assert actions
    assert not [action for action in actions if not re.search(r"@[0-9a-f]{40} # v\d", action)]
