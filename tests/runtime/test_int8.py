"""INT8 is computed by an ONNX Runtime that does it rightly, by another backend, or not at all."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EnvironmentUnusable
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime import choice
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend, why_no_int8
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


def test_unfused_sums_saturate_on_no_processor() -> None:
    """Where a fused convolution adds pairs of products in 16 bits, these would saturate."""
    helper = pytest.importorskip("onnx").helper
    channels, weight, scale = 64, 127, 8160.0
    shapes = {"x": (1, channels, 1, 1), "y": (1, 1, 1, 1)}
    ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    constants = {
        "one": (1, (), [1.0]), "scale": (1, (), [scale]), "zero": (2, (), [0]),
        "weight": (3, (1, channels, 1, 1), [weight] * channels), "middle": (3, (), [0]),
    }  # fmt: skip
    steps = [
        ("QuantizeLinear", ["x", "one", "zero"], "xq"),
        ("DequantizeLinear", ["xq", "one", "zero"], "xd"),
        ("DequantizeLinear", ["weight", "one", "middle"], "wd"),
        ("Conv", ["xd", "wd"], "sum"),
        ("QuantizeLinear", ["sum", "scale", "zero"], "yq"),
        ("DequantizeLinear", ["yq", "scale", "zero"], "y"),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps],
        "sums", ends[:1], ends[1:],
        [helper.make_tensor(name, *value) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    node = NodeSpec("sums", ("x",), ("y",), {"int8.cpu": "sums.onnx"})
    specs = {name: TensorSpec(name, shape) for name, shape in shapes.items()}
    backend = OnnxRuntimeBackend(1, fused=False)
    engine = backend.load(node, Content.of(model.SerializeToString()), specs, "int8")
    buffers = {name: backend.allocate(spec) for name, spec in specs.items()}
    engine.bind(buffers)
    buffers["x"].write(np.full(shapes["x"], 255, np.float32))
    engine.enqueue()
    assert buffers["y"].read().item() == channels * weight * 255 == 254 * scale
