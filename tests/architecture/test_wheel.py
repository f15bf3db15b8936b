"""The wheel holds every module, the embedded bundle, its commit, and nothing else."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ckd.contract.version import DISTRIBUTION, built_from

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("train", "export", "runtime", "calibration", "benchmarks")


@pytest.mark.slow
def test_wheel_holds_exactly_the_tracked_sources(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.startswith(f"{DISTRIBUTION.replace('-', '_')}-")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        commit = archive.read("ckd/contract/commit.txt").decode().strip()
    is_changed = bool(git("status", "--porcelain"))
    assert commit == git("rev-parse", "HEAD").strip() + ("-changed" if is_changed else "")
    listed = git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    expected = {
        path.partition("/")[2]
        for path in listed
        if path.startswith(tuple(f"{root}/ckd/" for root in SOURCE_ROOTS))
        and (ROOT / path).is_file()
    }
    assert packed == expected | {"ckd/contract/commit.txt"}


def git(*arguments: str) -> str:
    """What git says of the checkout."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_sources_that_run_where_they_lie_have_no_commit() -> None:
    assert built_from() is None


def test_the_project_is_named_once() -> None:
    """`ckd` on the public package index is another project: nothing may ask for that one."""
    project = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'^name = "(.+?)"', project, re.MULTILINE)[0] == DISTRIBUTION
    assert set(re.findall(r'"([\w-]*ckd[\w-]*)\[', project)) == {DISTRIBUTION}


@pytest.mark.slow
def test_the_embedded_bundle_is_small_enough_for_a_device() -> None:
    bundle = ROOT / "runtime" / "ckd" / "runtime" / "bundles" / "ckdnet-mobile"
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    assert 1e6 < size <= 48e6
