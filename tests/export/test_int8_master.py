"""The INT8 files for TensorRT: signed, the rest and the edges in half precision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import int8_cases
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime

from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.contract.bundle import Bundle
from ckd.contract.wiring import IMAGE
from ckd.export.parity import parity_images
from ckd.runtime import Cascade


@pytest.fixture(scope="module")
def quantised(explained_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny cascade in every precision, its classifier in float."""
    folder = tmp_path_factory.mktemp("master")
    images = {}
    for index, image_HWC in enumerate(parity_images(64, 12)):
        images[str(index)] = folder / f"{index}.png"
        Image.fromarray(image_HWC).save(images[str(index)])
    out = folder / "int8"
    # The default method: NumPy bins no half precision, so it is the one that could fail.
    setting = QuantSetting(method="percentile", keep_float=("cls",))
    quantise_bundle(Bundle(explained_bundle), images, out, setting=setting)
    return out


def test_master_and_cpu_files_lie_side_by_side(quantised: Path) -> None:
    spec = Bundle(quantised).spec
    assert spec.file_kinds() == ("fp32", "fp16", "int8", "int8.cpu")
    files = {node.name: node.files for node in spec.nodes}
    assert files["rootseg"]["int8"] == "rootseg.int8.onnx"
    assert files["cls"]["int8"] == "cls.fp16.onnx"
    assert files["cls"]["int8.cpu"] == "cls.fp32.onnx"
    assert spec.tensor("gate1", "int8").dtype == "float16"
    assert spec.tensor("gate1", "int8.cpu").dtype == "float32"
    assert spec.tensor(IMAGE, "int8").dtype == "uint8"
    assert [case.passed for case in int8_cases(quantised)] == [True] * 4


def test_they_can_be_left_out(quantised: Path, tmp_path: Path) -> None:
    setting = QuantSetting(method="minmax", tensorrt=False)
    images = {path.name: path for path in quantised.parent.glob("*.png")}
    quantise_bundle(Bundle(quantised), images, tmp_path / "cpu", setting=setting)
    assert Bundle(tmp_path / "cpu").spec.file_kinds() == ("fp32", "fp16", "int8.cpu")
    assert not list((tmp_path / "cpu").glob("*.int8.onnx"))


@pytest.mark.parametrize("name", ["rootseg", "seg_encoder", "seg_decoder"])
def test_master_computes_what_the_cpu_file_computes(quantised: Path, name: str) -> None:
    node = next(n for n in Bundle(quantised).spec.nodes if n.name == name)
    with Cascade.load(quantised, "onnxruntime", precision="int8") as cascade:
        tensors = cascade.chain.run_all(parity_images(64)[0])
    # Left to itself ONNX Runtime 1.31 quantises half biases, which overflow: masks come out empty.
    session = onnxruntime.InferenceSession(
        str(quantised / node.files["int8"]),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )
    feed = {
        name: tensors[name] if name == IMAGE else tensors[name].astype(np.float16)
        for name in node.inputs
    }
    given: list[NDArray[Any]] = session.run(list(node.outputs), feed)
    for tensor, values in zip(node.outputs, given, strict=True):
        assert values.dtype == np.float16
        expected = tensors[tensor]
        error = np.abs(values.astype(np.float32) - expected).mean()
        # Grids are alike, not equal (ranges are those of the half-precision network), and weights
        # are random. A bias that overflowed gives an error of several deviations.
        assert error < 0.25 * max(expected.std(), np.abs(expected).mean()), tensor


def test_half_precision_scales_need_opset_19(quantised: Path) -> None:
    model = onnx.load(quantised / "rootseg.int8.onnx")
    assert model.opset_import[0].version == 19
    onnx.checker.check_model(model, full_check=True)
