"""Soak, load, fuzz and kept for two minutes each; `make soak MINUTES=30` runs one of them longer.

Each has a process of its own, as with `make`: its memory is what it needs, and not what the tests
before it left behind.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MINUTES = 2.0


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["soak", "load", "fuzz", "kept"])
def test_nothing_is_lost_wrong_or_growing(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / f"{name}.py", "--minutes", str(MINUTES)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "support")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout)["minutes"] >= MINUTES
