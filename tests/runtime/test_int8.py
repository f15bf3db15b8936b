"""INT8 is computed by an ONNX Runtime that does it rightly, by another backend, or not at all."""

from pathlib import Path

import onnxruntime
import pytest

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EnvironmentUnusable
from ckd.runtime import choice
from ckd.runtime.backends.onnxruntime import why_no_int8
from ckd.runtime.cascade import Cascade
from ckd.runtime.doctor import examine

REFUSED = (
    r"^ONNX Runtime 1\.23\.2 computes INT8 wrongly on some processors; expected 1\.26 or newer, "
    r"which needs Python 3\.11; or take OpenVINO: .*--backend openvino$"
)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The last ONNX Runtime for Python 3.10."""
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("version", "is_right"),
    [
        ("1.9.0", False), ("1.25.1", False), ("1.26.0.dev20260401", True), ("1.31.1", True),
        ("2.0", True),
    ],
)  # fmt: skip
def test_it_goes_by_the_version(
    monkeypatch: pytest.MonkeyPatch, version: str, is_right: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    assert (why_no_int8() is None) == is_right


@pytest.mark.usefixtures("old", "only_onnxruntime")
@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_old_onnxruntime_is_refused_with_what_to_do(int8_bundle: Path, backend: str) -> None:
    with pytest.raises(EnvironmentUnusable, match=REFUSED):
        Cascade.load(int8_bundle, backend=backend, precision="int8")
    with Cascade.load(int8_bundle, backend=backend):
        pass  # float is right in every version


@pytest.mark.usefixtures("old")
def test_openvino_is_taken_where_it_is(int8_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda: ("onnxruntime", "openvino"))

    def measured(name: str) -> float:
        if name == "openvino":  # which this machine may lack
            return 10.0
        return choice.networks_ms(Bundle(int8_bundle), "int8", 1, name)

    assert choice.fastest_backend("a bundle", "int8", 1, measured) == "openvino"


@pytest.mark.usefixtures("old", "only_onnxruntime")
def test_doctor_says_so(tiny_bundle: Path) -> None:
    (check,) = [check for check in examine(tiny_bundle) if check.what == "int8 by onnxruntime"]
    assert check.status == "note"
    assert "--backend openvino" in check.detail
