"""The list of what is installed holds all of it, and whatever differs from it is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.export.supply.environments import Environment

from ckd.contract.errors import EnvironmentUnusable, GateFailed, InputError
from ckd.export.supply.sbom import DIGEST, check_sbom, write_sbom

MIT = "License-Expression: MIT"


def filled(folder: Path) -> Environment:
    environment = Environment(folder)
    environment.install("ckd_cascades", "License-Expression: Apache-2.0", "Requires-Dist: some-lib")
    environment.install("Some.Lib", "License: 3-Clause BSD License", version="2.1")
    return environment


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return filled(tmp_path / "env")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_sbom(filled(folder / "elsewhere").python, folder / "sbom.json")
    return folder / "sbom.json"


def test_it_says_what_is_there_by_which_licence_and_its_hashes(
    environment: Environment, tmp_path: Path
) -> None:
    wheels = {"ckd-cascades": "0" * 64, "some-lib": "1" * 64}
    time = {"SOURCE_DATE_EPOCH": "1700000000"}
    out = tmp_path / "sbom.json"
    licences = write_sbom(environment.python, out, wheels, time)
    assert licences == {"ckd-cascades": "Apache-2.0", "some-lib": "BSD-3-Clause"}
    tree = json.loads(out.read_bytes())
    assert tree["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert tree["metadata"]["component"]["name"] == "ckd_cascades"
    (lib,) = tree["components"]
    assert (lib["name"], lib["version"]) == ("Some.Lib", "2.1")
    assert lib["licenses"] == [{"acknowledgement": "declared", "expression": "BSD-3-Clause"}]
    assert lib["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    assert [one["name"] for one in lib["properties"]] == [DIGEST]
    needs = {one["ref"]: one.get("dependsOn", []) for one in tree["dependencies"]}
    assert needs["ckd_cascades==1.0"] == ["Some.Lib==2.1"]


def test_the_same_packages_elsewhere_give_the_same_bytes(
    environment: Environment, tmp_path: Path, written: Path
) -> None:
    write_sbom(environment.python, tmp_path / "sbom.json")
    assert (tmp_path / "sbom.json").read_bytes() == written.read_bytes()
    assert json.loads(written.read_bytes())["serialNumber"].startswith("urn:uuid:")
    environment.install("more", MIT)
    write_sbom(environment.python, tmp_path / "sbom.json")
    now = json.loads((tmp_path / "sbom.json").read_bytes())
    assert now["serialNumber"] != json.loads(written.read_bytes())["serialNumber"]


def test_what_differs_is_named(environment: Environment, written: Path, tmp_path: Path) -> None:
    assert len(check_sbom(environment.python, written)) == 2
    (environment.site / "__pycache__").mkdir()
    (environment.site / "__pycache__" / "ckd_cascades.cpython-311.pyc").write_bytes(b"compiled")
    (environment.site / "Some.Lib-2.1.dist-info" / "INSTALLER").write_text("uv\n")
    assert len(check_sbom(environment.python, written)) == 2

    stranger = environment.site / "also.pth"
    stranger.write_text("import os\n")
    with pytest.raises(GateFailed, match=r"^also\.pth in .* belongs to no package; remove it"):
        check_sbom(environment.python, written)
    stranger.unlink()

    (tmp_path / "elsewhere").mkdir()
    link = environment.site / "evil"
    link.symlink_to(tmp_path / "elsewhere")  # Python imports what lies there
    with pytest.raises(GateFailed, match=r"^evil in .* belongs to no package; remove it"):
        check_sbom(environment.python, written)
    link.unlink()

    environment.install("more", MIT)
    with pytest.raises(GateFailed, match=r"^more: installed is 1\.0 .* says none; install from"):
        check_sbom(environment.python, written)


def test_a_file_that_was_changed_is_named(environment: Environment, written: Path) -> None:
    file = environment.site / "Some.Lib.py"
    file.write_bytes(b"x = 2\n")
    with pytest.raises(GateFailed, match=r"^Some\.Lib 2\.1: Some\.Lib\.py is not what was inst"):
        check_sbom(environment.python, written)
    file.unlink()
    with pytest.raises(GateFailed, match=r"^Some\.Lib 2\.1: Some\.Lib\.py cannot be read: No such"):
        check_sbom(environment.python, written)


def test_other_files_under_the_same_version_are_found(tmp_path: Path, written: Path) -> None:
    """As its own list of files fits, this takes the SBOM's sum."""
    environment = Environment(tmp_path / "env")
    environment.install("ckd_cascades", "License-Expression: Apache-2.0", "Requires-Dist: some-lib")
    environment.install(
        "Some.Lib", "License: 3-Clause BSD License", version="2.1", content=b"evil = 1\n"
    )
    with pytest.raises(GateFailed, match=r"^some-lib: installed is 2\.1 \(\w{64}\), and .* says 2"):
        check_sbom(environment.python, written)


def test_one_name_twice_is_refused(environment: Environment, written: Path) -> None:
    environment.install("some_lib", MIT)
    with pytest.raises(GateFailed, match=r"^some-lib is installed twice, as "):
        check_sbom(environment.python, written)


def test_a_list_that_names_a_package_twice_is_none(
    environment: Environment, written: Path, tmp_path: Path
) -> None:
    tree = json.loads(written.read_bytes())
    (lib,) = tree["components"]
    tree["components"] = [{**lib, "name": "some_lib", "version": "0"}, lib]
    path = tmp_path / "sbom.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"sbom\.json is no list of what is installed "):
        check_sbom(environment.python, path)


@pytest.mark.parametrize("said", ["", "text", "1"])
def test_what_is_no_python_is_named(written: Path, tmp_path: Path, said: str) -> None:
    other = tmp_path / "other"
    other.write_text(f"#!/bin/sh\necho {said}\n")
    other.chmod(0o755)
    with pytest.raises(EnvironmentUnusable, match="other is no Python"):
        check_sbom(other, written)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"components": [{}], "metadata": {}}', '{"components": 1}', "[" * 9999],
)
def test_what_is_no_list_is_refused(environment: Environment, tmp_path: Path, text: str) -> None:
    path = tmp_path / "sbom.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"sbom\.json is no list of what is installed "):
        check_sbom(environment.python, path)


def test_the_command_ends_with_a_line_and_a_code(environment: Environment, written: Path) -> None:
    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "ckd.export.supply.sbom", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("check", environment.python, written)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{written}: 2 packages, as installed; Apache-2.0 (1), BSD-3-Clause (1)\n"
    environment.install("bad", "License-Expression: AGPL-3.0-only")
    for done, code, said in (
        (run("check", environment.python, written), 4, "error: bad: installed is 1.0 "),
        (
            run("write", environment.python, written.with_name("new.json")),
            4,
            "error: bad 1.0 is under 'AGPL-3.0-only'; nothing under ",
        ),
        (run("check", environment.site / "none", written), 3, "error: "),
    ):
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
    assert not written.with_name("new.json").exists()


def test_who_cannot_write_it_learns_what_to_install(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckd.export.supply.sbom.find_spec", lambda name: None)
    with pytest.raises(EnvironmentUnusable, match=r"cyclonedx-bom, .*`pip install --group dev`"):
        write_sbom(environment.python, tmp_path / "sbom.json")
    assert not (tmp_path / "sbom.json").exists()
