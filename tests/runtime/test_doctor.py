"""The doctor names what stands in the way, with its remedy, and never falls over itself."""

import importlib.metadata
import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from ckd.contract.bundle import Bundle
from ckd.contract.hashes import write_hashes
from ckd.contract.version import ckd_version
from ckd.runtime import doctor
from ckd.runtime.cache import Store
from ckd.runtime.cases import CASES
from ckd.runtime.cuda.api import DeviceProperties
from ckd.runtime.doctor import Check, examine
from ckd.runtime.signed import embedded_bundle, open_bundle


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


def test_a_gpu_is_a_fact_and_its_absence_no_problem(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "why_no_gpu", lambda: "no driver; install one")
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    checks = by_name(examine(tiny_bundle))
    assert checks["gpu"] == Check("gpu", "note", "no driver; install one")
    assert checks["tensorrt"].status == "note"
    assert checks["tensorrt"].detail.startswith("TensorRT is not installed; JetPack brings it")
    assert checks["bundle"].status == "ok"


def test_what_gpu_there_is_can_be_read(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = DeviceProperties(
        name="NVIDIA H100",
        compute_capability=(9, 0),
        num_multiprocessors=132,
        total_bytes=80 << 30,
        driver_version=13000,
        runtime_version=12060,
    )
    cuda = ModuleType("ckd.runtime.cuda.bindings")
    vars(cuda)["open_cuda"] = lambda device: SimpleNamespace(properties=lambda: properties)
    monkeypatch.setattr(doctor, "why_no_gpu", lambda: None)
    monkeypatch.setitem(sys.modules, cuda.__name__, cuda)
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    assert by_name(examine(tiny_bundle))["gpu"] == Check(
        "gpu",
        "ok",
        "NVIDIA H100, compute capability 9.0, 80.0 GiB, driver for CUDA 13.0, CUDA 12.6",
    )


def test_what_would_be_used_is_what_is_tested(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = by_name(examine(tiny_bundle, "onnxruntime", num_threads=1))
    assert " on onnxruntime in fp32, 4 acceptance cases" in checks["bundle"].detail
    assert "engines" not in checks  # it builds none
    for backend, device, precision, code in (
        ("openvino", "auto", "auto", 3),
        ("onnxruntime", "cpu", "bf16", 2),
        ("trt", "auto", "auto", 2),
        ("auto", "gpu", "auto", 2),
    ):
        check = by_name(examine(tiny_bundle, backend, device, precision))["bundle"]
        assert (check.status, check.exit_code) == ("problem", code), (backend, device, precision)


def test_engines_that_were_kept_are_told_and_those_that_could_not_be(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("in the way")
    for cache, told in (("cache", "answered the 4 cases twice"), ("file/cache", "make room")):
        monkeypatch.setenv("CKD_CACHE", str(tmp_path / cache))
        checks = by_name(examine(tiny_bundle, "openvino", "cpu", num_threads=1))
        assert " on openvino in fp32, 4 acceptance cases" in checks["bundle"].detail
        assert checks["engines"].status == ("ok" if cache == "cache" else "note")
        assert told in checks["engines"].detail


def test_a_bundle_is_opened_once(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_counted(path: Path | None = None, keys: None = None) -> Bundle:
        opened.append(path)
        return open_bundle(path, keys)

    monkeypatch.setattr(doctor, "open_bundle", open_counted)
    monkeypatch.setattr("ckd.runtime.cascade.open_bundle", open_counted)
    assert by_name(examine(tiny_bundle))["bundle"].status == "ok"
    assert len(opened) == 1


def test_a_cache_that_others_may_write_to_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    store = Store(tmp_path / "cache/backends")
    kept = [store.path({"kept": number}) for number in (1, 2)]
    for number in (1, 2):
        store.write({"kept": number}, 1)
        kept[number - 1].chmod(0o666)
    told = [check for check in examine(tiny_bundle) if check.what == "cache"]
    assert [check.status for check in told] == ["note", "note"]
    for path in kept:
        assert sum(f"chmod go-w {path}" in check.detail for check in told) == 1
        path.unlink()
    assert next(check for check in examine(tiny_bundle) if check.what == "cache").status == "ok"
