"""The device side on other Pythons: only `.[cpu]` installed, from a wheel of this checkout.

The environments are kept between runs in `.venv-<version>` and made anew when `pyproject.toml`
changes; the code in them is always this checkout's.
"""

import hashlib
import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from services import service_missing

ROOT = Path(__file__).parents[2]
#: Tests of what is installed on a device.
DEVICE_TESTS = [
    f"tests/{name}" for name in ("contract", "picture", "finding", "console", "runtime")
]
#: What builds the wheel and runs the tests.
TOOLS = (
    "hatchling",
    f"pytest=={version('pytest')}",
    f"pytest-timeout=={version('pytest-timeout')}",
)


@pytest.mark.system
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("wanted", ["3.10", "3.12"])
def test_the_device_side_passes_its_tests_on_python(wanted: str, tmp_path: Path) -> None:
    python = environment(wanted)
    # Not the editable sources, and as a whole: whatever a wheel leaves out must be missed here.
    pip(python, "--no-deps", "--force-reinstall", "--no-build-isolation", str(ROOT))
    where = run(python, "-c", "import ckd.runtime; print(ckd.runtime.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(python.parents[1])
    done = run(
        python, "-m", "pytest", *DEVICE_TESTS, "-q", "-p", "no:cacheprovider",
        f"--basetemp={tmp_path / 'tests'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 500
    doctor = run(python.with_name("ckd-run"), "doctor", "tests/assets/tiny_bundle")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def environment(wanted: str) -> Path:
    """The Python of an environment that holds the tools and what `.[cpu]` needs."""
    folder = ROOT / f".venv-{wanted}"
    python = folder / "bin" / "python"
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + repr(TOOLS).encode()).hexdigest()
    ready = folder / "made-for"
    if ready.is_file() and ready.read_text() == key and python.exists():
        return python
    made = run(interpreter(wanted), "-m", "venv", "--clear", str(folder))
    assert made.returncode == 0, made.stderr
    tools = run(python, "-m", "pip", "install", "-q", *TOOLS)
    if tools.returncode:
        service_missing(f"no package registry: {tools.stderr.strip().splitlines()[-1]}")
    pip(python, "--no-build-isolation", f"{ROOT}[cpu]")
    ready.write_text(key)
    return python


def interpreter(wanted: str) -> Path:
    """A Python of that version; without one the test is skipped."""
    candidates = sorted(Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python"))
    if on_path := shutil.which(f"python{wanted}"):
        candidates.append(Path(on_path))
    says = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        # Shims of version managers are found but may not run.
        if run(candidate, "-c", says).stdout.strip() == wanted:
            return candidate
    service_missing(f"no Python {wanted} with venv on this machine")


def pip(python: Path, *arguments: str) -> None:
    done = run(python, "-m", "pip", "install", "-q", *arguments)
    assert done.returncode == 0, done.stderr[-4000:]


def run(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CKD_"))
    }
    return subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
