"""What features cost: both bundles are raced, and differ by that output alone."""

import functools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from ckd.contract.bundle import Bundle
from ckd.contract.errors import InputError
from ckd.runtime import Cascade

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "features_cost.py"


@pytest.fixture
def cost(in_process: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(
        in_process, lambda: runpy.run_path(str(SCRIPT), run_name="__main__"), SCRIPT
    )


def test_both_are_raced(explained_bundle: Path, tmp_path: Path, cost: Callable[..., Any]) -> None:
    out = tmp_path / "cost.md"
    assert cost(explained_bundle, "--runs", 2, "--out", out).returncode == 0
    text = out.read_text()
    assert "| onnxruntime FP32 |" in text
    assert "gives features. One 1920x1080 frame" in text
    assert str(tmp_path) not in text


def test_the_plain_copy_answers_alike(explained_bundle: Path, tmp_path: Path) -> None:
    without = runpy.run_path(str(SCRIPT))["without_features"]
    plain = without(Bundle(explained_bundle), tmp_path / "plain")
    assert plain.spec.outputs.features is None
    image_HWC = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    found = []
    for bundle in (Bundle(explained_bundle), plain):
        with Cascade.load(bundle.path, "onnxruntime", "cpu") as cascade:
            found.append(cascade.predict(image_HWC).probabilities)
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    with pytest.raises(InputError, match="gives no features"):
        without(plain, tmp_path / "again")
