"""Writes and checks the list of what is installed (SBOM), in the format CycloneDX:

    python -m ckd.export.supply.sbom write PYTHON FILE
    python -m ckd.export.supply.sbom check PYTHON FILE

`cyclonedx-bom` writes it; this adds what it cannot know: hashes, and licences that follow the rule.
Checking needs none of its packages, and works on a device.
"""

import argparse
import hashlib
import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ckd import console
from ckd.contract.errors import EnvironmentUnusable, GateFailed, InputError
from ckd.contract.parsing import read_json
from ckd.contract.version import DISTRIBUTION
from ckd.contract.whole_file import replace_file
from ckd.export.supply.installed import Installed, comparable, installed_in
from ckd.export.supply.licences import licence_of
from ckd.export.supply.tools import output_of

#: Property of a component: SHA-256 over its installed files, see `Installed.digest`.
DIGEST: Final = "ckd:installed:sha256"
#: Of the serial number, which follows from the content.
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "ckd:sbom")


def write_sbom(
    python: Path,
    out: Path,
    wheels: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Write what is installed in an environment, by whose licences, and the hashes.

    Args:
        python: of the environment.
        out: file to write; the same for the same content, wherever the environment lies.
        wheels: package -> SHA-256 of the wheel that it came from, for all that are there.
        variables: for `cyclonedx-py`: SOURCE_DATE_EPOCH is the time that is written, else none is.

    Returns:
        Package -> licence.

    Raises:
        GateFailed: a package is not whole, or may not be installed.
        EnvironmentUnusable: a program is missing or fails.
    """
    if find_spec("cyclonedx_py") is None:
        raise EnvironmentUnusable(
            "cyclonedx-bom, which writes the list, is not installed; `pip install --group dev` in "
            "the folder of this project, or write it from an environment that has it, as .venv"
        )
    found = installed_in(python)
    licences = {name: licence_of(package) for name, package in found.items()}
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "sbom.json"
        output_of(
            "python", "-m", "cyclonedx_py", "environment", python, "--output-reproducible",
            "--no-validate", "--spec-version", "1.6", "--output-format", "JSON",
            "--output-file", file,
            variables=variables,
        )  # fmt: skip
        tree = read_json(file)
    for component in tree["components"]:
        name = comparable(component["name"])
        component.pop("externalReferences", None)  # with the place that it was installed from
        component["licenses"] = [{"expression": licences[name], "acknowledgement": "declared"}]
        component["properties"] = [{"name": DIGEST, "value": found[name].digest}]
        if wheels is not None:
            component["hashes"] = [{"alg": "SHA-256", "content": wheels[name]}]
        if name == DISTRIBUTION:
            component["type"] = "application"
            tree["metadata"]["component"] = component
    tree["components"] = [one for one in tree["components"] if one["type"] == "library"]
    text = json.dumps(tree, indent=1, sort_keys=True)
    number = uuid.uuid5(_NAMESPACE, hashlib.sha256(text.encode()).hexdigest())
    text = json.dumps({**tree, "serialNumber": number.urn}, indent=1, sort_keys=True) + "\n"
    _check_format(text)
    replace_file(out, text.encode())
    return licences


def check_sbom(python: Path, path: Path) -> dict[str, str]:
    """Hold an environment against a list, and its licences against the rule.

    Returns:
        Package -> licence.

    Raises:
        GateFailed: a package is missing, another one, too many, changed, or may not be installed.
        InputError: the list cannot be read.
    """
    try:
        tree = read_json(path)
        listed = [*tree["components"], *filter(None, [tree["metadata"].get("component")])]
        expected = {comparable(one["name"]): _told(one) for one in listed}
        if len(expected) < len(listed):
            raise ValueError("one package twice")
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"{path} is no list of what is installed ({type(error).__name__}); expected what "
            "`python -m ckd.export.supply.sbom write` writes"
        ) from error
    found = installed_in(python)
    _check_same(expected, {name: _seen(package) for name, package in found.items()}, path)
    return {name: licence_of(package) for name, package in found.items()}


def _told(component: dict[str, Any]) -> str:
    (digest,) = (one["value"] for one in component["properties"] if one["name"] == DIGEST)
    return f"{component['version']} ({digest})"


def _seen(package: Installed) -> str:
    return f"{package.version} ({package.digest})"


def _check_same(expected: Mapping[str, str], found: Mapping[str, str], source: Path) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise GateFailed(
                f"{name}: installed is {found.get(name, 'none')}, and {source} says "
                f"{expected.get(name, 'none')}; install from the list anew, or write it anew"
            )


def _check_format(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if (error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise GateFailed(f"what was made is no CycloneDX 1.6: {str(error)[:200]}")


def main() -> None:
    """Write or check, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m ckd.export.supply.sbom")
    parser.add_argument("what", choices=["write", "check"])
    parser.add_argument("python", type=Path, help="the Python of the environment")
    parser.add_argument("file", type=Path, help="the SBOM")
    given = parser.parse_args()
    does = write_sbom if given.what == "write" else check_sbom
    licences = does(given.python, given.file)
    counted = ", ".join(f"{name} ({n})" for name, n in sorted(Counter(licences.values()).items()))
    console.show(f"{given.file}: {len(licences)} packages, as installed; {counted}")


if __name__ == "__main__":
    console.run(main)
