"""What the README says works: its links lead somewhere and its commands run, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckd.benchmarks.contenders import write_jpeg
from ckd.data.synthetic.write import dermoscopy

ROOT = Path(__file__).parents[2]
READMES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md"))
DOCUMENTS = [*READMES, *sorted(ROOT.glob("runtime/ckd/runtime/bundles/*/model_card.md"))]
PACKAGES = {
    "run": "runtime", "train": "train", "export": "export", "calibrate": "calibration",
    "bench": "benchmarks",
}  # fmt: skip
COMMAND = re.compile(r"\bckd-(run|train|export|calibrate|bench) ([a-z-]+(?: [a-z-]+)?)")
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(#[^)]*)?\)")
#: Blocks of these kinds are run; ```sh is for commands that need a camera, a GPU or real data.
RUNNABLE = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(readme: Path) -> None:
    for target, _ in LINK.findall(readme.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (readme.parent / target).exists(), f"{readme.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_named_exists(document: Path) -> None:
    import importlib

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


def test_a_jetson_is_told_to_install_what_the_project_needs() -> None:
    """Without versions pip would be content with the system's packages, which are older."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    needed = re.findall(r'"(.+?)"', block)
    told = re.findall(r'"([a-z]\S+>=\S+?)"', (ROOT / "runtime" / "JETSON.md").read_text())
    for requirement in needed:
        if not requirement.startswith("opencv"):  # the system's
            assert any(one.split(",")[0] == requirement for one in told), requirement


@pytest.mark.slow
def test_commands_and_code_run_in_order(tmp_path: Path) -> None:
    blocks = RUNNABLE.findall((ROOT / "README.md").read_text())
    assert len(blocks) >= 4
    tools = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    write_jpeg(dermoscopy(seed=1, side_px=512).image_HWC, tmp_path / "photo.jpg")
    for kind, code in blocks:
        if code.startswith("make "):
            continue  # this test is run by one of them
        command = ["bash", "-euc", code] if kind == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
