"""The pages build: every warning of Sphinx is an error."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Sphinx and its theme need Python 3.11")
def test_pages_build_without_warnings(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "doctrees",
            "-b", "html", ROOT / "docs", tmp_path / "html",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ROOT.glob("docs/*.md"):
        assert (tmp_path / "html" / f"{page.stem}.html").exists()
    assert "Cascade.predict" in (tmp_path / "html" / "api" / "ckd.runtime.html").read_text()
