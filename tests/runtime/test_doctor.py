"""The doctor names what stands in the way, with its remedy, and never falls over itself."""

import importlib.metadata
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ckd.contract.bundle import write_hashes
from ckd.contract.version import ckd_version
from ckd.runtime.acceptance import CASES
from ckd.runtime.cascade import embedded_bundle
from ckd.runtime.doctor import Check, examine


def by_name(checks: list[Check]) -> dict[str, Check]:
    named = {check.what: check for check in checks}
    assert len(named) == len(checks)
    for check in checks:
        assert check.detail, check.what
        assert "\n" not in check.detail, check.what
    return named


@pytest.fixture(autouse=True)
def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with `.[cpu]`; the other backends have tests of their own."""
    monkeypatch.setitem(sys.modules, "openvino", None)


def test_this_machine_can_run_the_tiny_bundle(tiny_bundle: Path) -> None:
    checks = by_name(examine(tiny_bundle))
    assert [what for what, check in checks.items() if check.status == "problem"] == []
    assert checks["bundle"].status == "ok"
    assert checks["bundle"].detail.startswith("tiny@")
    assert "4 acceptance cases passed" in checks["bundle"].detail
    assert "on onnxruntime" in checks["bundle"].detail
    assert checks["onnxruntime"].detail[0].isdigit()
    assert checks["ckd"].detail == ckd_version()
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}." in checks["system"].detail


@pytest.mark.skipif(not embedded_bundle().is_dir(), reason="no bundle is embedded yet")
def test_the_embedded_bundle_is_the_default() -> None:
    check = by_name(examine())["bundle"]
    assert check.status == "ok"
    assert check.detail.startswith("ckdnet-mobile@")


def test_a_missing_bundle_is_a_problem(tmp_path: Path) -> None:
    check = by_name(examine(tmp_path / "nowhere"))["bundle"]
    assert check.status == "problem"
    assert "no such bundle" in check.detail


def test_an_altered_bundle_is_a_problem(bundle_copy: Path) -> None:
    (bundle_copy / "model_card.md").write_text("better than it was")
    check = by_name(examine(bundle_copy))["bundle"]
    assert (check.status, "model_card.md was changed" in check.detail) == ("problem", True)


def test_a_failed_acceptance_case_is_a_problem(bundle_copy: Path) -> None:
    with np.load(bundle_copy / CASES) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["logits"] = -arrays["logits"]
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    (bundle_copy / CASES).write_bytes(packed.getvalue())
    write_hashes(bundle_copy)
    check = by_name(examine(bundle_copy))["bundle"]
    assert (check.status, check.detail) == ("problem", "4 of 4 acceptance cases failed")
    assert check.exit_code == 4


def test_a_bundle_of_another_precision_is_a_problem(bundle_copy: Path) -> None:
    tree = json.loads((bundle_copy / "cascade.json").read_text())
    for node in tree["nodes"]:
        node["files"] = {"fp16": node["files"]["fp32"]}
    for tensor in tree["tensors"].values():
        tensor["dtype"] = {"fp16": tensor["dtype"]["fp32"]}
    (bundle_copy / "cascade.json").write_text(json.dumps(tree))
    write_hashes(bundle_copy)
    check = by_name(examine(bundle_copy))["bundle"]
    assert check.status == "problem"
    assert "no fp32 networks in this bundle; it has fp16" in check.detail


def test_a_missing_backend_is_named_with_its_remedy(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    checks = by_name(examine(tiny_bundle))
    assert checks["onnxruntime"] == Check(
        "onnxruntime", "note", "not installed; pip install '.[cpu]'"
    )
    assert checks["bundle"].status == "problem"
    assert "no inference backend is installed" in checks["bundle"].detail


def test_a_backend_under_another_distribution_name_is_no_obstacle(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-gpu is imported as onnxruntime."""
    version = importlib.metadata.version

    def of_gpu_machine(name: str) -> str:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", of_gpu_machine)
    checks = by_name(examine(tiny_bundle))
    assert (checks["onnxruntime"].status, checks["bundle"].status) == ("ok", "ok")
