"""Tables of commands, piped: however narrow a terminal is claimed, no cell is cut or broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckd.data.synthetic.write import write_isic2017

COMMANDS = {
    "info": ("ckd.runtime.cli", "info"),
    "doctor": ("ckd.runtime.cli", "doctor"),
    "data check": ("ckd.train.cli", "data", "check"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_piped_table_is_as_wide_as_its_content(
    name: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    target = tiny_bundle
    if name == "data check":
        target = tmp_path / "a folder whose name is longer than ten characters"
        write_isic2017(target, num_train=2, num_val=1, side_px=32)
    module, *words = COMMANDS[name]

    def lines(columns: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", module, *words, str(target)],
            env={**os.environ, "COLUMNS": columns, "FORCE_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    narrow, wide = lines("10"), lines("400")
    assert len(narrow) == len(wide)
    assert max(map(len, narrow)) > 40
    assert "\x1b" not in "".join(narrow)
