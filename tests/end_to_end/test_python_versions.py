"""The device side on other Pythons: only `.[cpu]` installed, from a wheel of this checkout.

By the lists of hashes it is installed anew, in the same way as on a device.

The environments are kept between runs in `.venv-<version>` and made anew when `pyproject.toml` or
`constraints.txt` changes; the code in them is always this checkout's.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from services import service_missing

from ckd.data.synthetic.write import write_isic2017

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


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("wanted", ["3.10", "3.11", "3.12"])
def test_a_device_is_installed_by_hashes_alone(wanted: str, tmp_path: Path) -> None:
    python = tmp_path / "device" / "bin" / "python"
    made = run(interpreter(wanted), "-m", "venv", str(tmp_path / "device"))
    assert made.returncode == 0, made.stderr
    listed = f"runtime/requirements/cp{wanted.replace('.', '')}-{platform.machine()}.txt"
    needed = run(python, "-m", "pip", "install", "-q", "-r", listed)
    if needed.returncode and "hash" not in needed.stderr.lower():
        service_missing(f"no package registry: {needed.stderr.strip().splitlines()[-1]}")
    assert needed.returncode == 0, needed.stderr
    built = run(
        Path(sys.executable), "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    pip(python, "--no-deps", "--no-index", str(wheel))
    whole = run(python, "-m", "pip", "check")
    assert whole.returncode == 0, whole.stdout
    write_isic2017(tmp_path / "data", num_train=1, num_val=1, side_px=128, seed=0)
    photograph = next((tmp_path / "data").rglob("*.jpg"))
    out = tmp_path / "results"
    done = run(python.with_name("ckd-run"), "image", str(photograph), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (out / "predictions.csv").is_file()


def environment(wanted: str) -> Path:
    """The Python of an environment that holds the tools and what `.[cpu]` needs."""
    folder = ROOT / f".venv-{wanted}"
    python = folder / "bin" / "python"
    asked = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    key = hashlib.sha256(b"".join([*asked, repr(TOOLS).encode()])).hexdigest()
    ready = folder / "made-for"
    if ready.is_file() and ready.read_text() == key and python.exists():
        return python
    made = run(interpreter(wanted), "-m", "venv", "--clear", str(folder))
    assert made.returncode == 0, made.stderr
    tools = run(python, "-m", "pip", "install", "-q", *TOOLS)
    if tools.returncode:
        service_missing(f"no package registry: {tools.stderr.strip().splitlines()[-1]}")
    constraints = str(ROOT / "constraints.txt")
    pip(python, "--no-build-isolation", "--constraint", constraints, f"{ROOT}[cpu]")
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
