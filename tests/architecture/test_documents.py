"""What the documents name exists: files, commands, Python names, requirements."""

import importlib
import pkgutil
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("[!.]*/*.md"))
DOCUMENTS = [*PAGES, *sorted(ROOT.glob("runtime/ckd/runtime/bundles/*/model_card.md"))]
PACKAGES = {
    "run": "runtime", "train": "train", "export": "export", "calibrate": "calibration",
    "bench": "benchmarks",
}  # fmt: skip
COMMAND = re.compile(r"\bckd-(run|train|export|calibrate|bench) ([a-z-]+(?: [a-z-]+)?)")
#: As in `ckd.runtime.cascade.Cascade.load`.
NAME = re.compile(r"`(ckd(?:\.\w+)+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(#[^)]*)?\)")


def test_the_pages_are_found() -> None:
    names = {path.name for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "architecture.md", "jetson.md"} <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, _ in LINK.findall(document.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_named_exists(document: Path) -> None:
    for tool, words in COMMAND.findall(document.read_text()):
        cli = importlib.import_module(f"ckd.{PACKAGES[tool]}.cli").cli
        group, *rest = words.split()
        names = {command.name for command in cli.registered_commands}
        for sub in cli.registered_groups:
            if group == sub.name:
                group = " ".join([group, *rest[:1]])
                names |= {
                    f"{sub.name} {command.name}"
                    for command in sub.typer_instance.registered_commands
                }
        assert group in names, f"{document.name}: ckd-{tool} {group}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_name_exists(document: Path) -> None:
    if document.name == "CHANGELOG.md":
        return  # it also names what was there before
    for name in NAME.findall(document.read_text()):
        pkgutil.resolve_name(name)


def test_a_jetson_is_told_to_install_what_the_project_needs() -> None:
    """Without versions pip would be content with the system's packages, which are older."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    needed = re.findall(r'"(.+?)"', block)
    installed = re.findall(r'"([a-z]\S+>=\S+?)"', (ROOT / "docs" / "jetson.md").read_text())
    for requirement in needed:
        if not requirement.startswith("opencv"):  # the system's
            assert any(requirement in (one, one.split(",")[0]) for one in installed), requirement


@pytest.mark.slow
def test_the_sdist_holds_the_documents(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    folders = {
        ROOT: "*.md",
        ROOT / "docs": "*.[mp][dy]",
        ROOT / "docs" / "walks": "*.svg",
        ROOT / "docs" / "static": "*",
    }
    sources = [path for folder, names in folders.items() for path in folder.glob(names)]
    assert len(sources) > 20
    assert {str(path.relative_to(ROOT)) for path in sources} <= packed


def test_every_test_that_the_page_of_faults_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/faults.md").read_text()))
    assert len(named) > 40
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named <= set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
