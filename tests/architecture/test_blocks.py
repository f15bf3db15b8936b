"""The commands and the code on the pages run, in the order in which they stand on a page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckd.benchmarks.contenders import write_jpeg
from ckd.data.synthetic.write import dermoscopy

ROOT = Path(__file__).parents[2]
#: Blocks of these kinds are run; ```sh is for commands that need a camera, a GPU or real data.
RUNNABLE = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {
    str(page.relative_to(ROOT)): RUNNABLE.findall(page.read_text())
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}
PAGES = [name for name, blocks in BLOCKS.items() if blocks]


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS["README.md"]) >= 3
    assert sum(map(len, BLOCKS.values())) >= 4
    assert {"docs/training.md", "docs/device.md"} <= set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_and_code_run_in_order(page: str, tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    write_jpeg(dermoscopy(seed=1, side_px=512).image_HWC, tmp_path / "photo.jpg")
    for kind, code in BLOCKS[page]:
        if code.startswith("make "):
            continue  # this test is run by one of them
        command = ["bash", "-euc", code] if kind == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
