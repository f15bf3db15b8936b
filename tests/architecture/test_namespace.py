"""One namespace from five source roots, and nothing heavy where it does not belong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("train", "export", "runtime", "calibration", "benchmarks")


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_namespace_root_has_no_init(root: str) -> None:
    assert (ROOT / root / "ckd").is_dir()
    stray = ROOT / root / "ckd" / "__init__.py"
    assert not stray.exists(), f"{stray} would hide the other four source roots"


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "ckd.runtime",
        "ckd.runtime.cli",
        "ckd.scores.metrics",
        "ckd.calibration.cli",
        "ckd.calibration.ranges",
        "ckd.benchmarks.cli",
        "ckd.data.synthetic.write",
    ],
)
def test_import_stays_light(module: str) -> None:
    heavy = {"torch", "torchvision", "lightning", "onnx", "matplotlib", "sklearn", "onnxruntime"}
    code = f"import sys, {module}; sys.exit(', '.join(sys.modules.keys() & {heavy!r}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"{module} pulls in {done.stderr.strip()}"
