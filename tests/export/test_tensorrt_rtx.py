"""TensorRT-RTX builds every file that is exported, and shows what the rules of INT8 files are for.

A plan holds weights, in the types of the file, and kernels. Sizes in MB, built by version 1.7.1:

                          FP32     FP16     INT8
    mobile rootseg        8.90     5.23     13.9
    mobile cls            10.8     6.75     13.6
    mobile seg_encoder    9.83     5.44     13.8
    mobile seg_decoder    6.67     6.95     7.45
    r101 seg_encoder      371      186      108

Sizes tell the precision only where weights dominate: int8 kernels of a MobileNetV2 take 11 MB, half
of that for depthwise convolutions. ckdnet-r101 is left out: its FP16 files alone took 55 s to make
where those of ckdnet-mobile took 19 s.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx
import torch
from onnx import numpy_helper
from PIL import Image

from ckd.calibration import quantize
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.calibration.lint import check_quantized
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.export.parity import parity_images
from ckd.runtime.signed import embedded_bundle

pytestmark = [
    pytest.mark.system,  # whole networks of the mobile recipe are exported and built
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx_bindings") is None,
        reason="no TensorRT-RTX: it is installed on Linux x86-64 with Python 3.11 and later",
    ),
]

BUILDER = Path(__file__).parents[1] / "rtx_plan.py"
NAMES = ["rootseg", "cls", "seg_encoder", "seg_decoder"]
#: Where weights outweigh kernels.
HEAVY = NAMES[:3]


@dataclass(frozen=True)
class Built:
    """What came of an ONNX file; the plan is empty where TensorRT-RTX refused."""

    plan: bytes = field(repr=False)
    said: tuple[str, ...]
    crashed: bool


def build(model: Path) -> Built:
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan"
        done = subprocess.run(
            [sys.executable, BUILDER, model, plan], capture_output=True, text=True, timeout=120
        )
        assert done.returncode <= 0, done.stderr
        crashed = done.returncode < 0
        content = plan.read_bytes() if plan.exists() else b""
    return Built(content, () if crashed else tuple(json.loads(done.stdout)), crashed)


@pytest.fixture(scope="module")
def tiny(explained_bundle: Path) -> dict[str, Path]:
    """Files of the tiny system by "<network>.<precision>", in FP32 and FP16."""
    return files_in(explained_bundle)


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the embedded cascade by "<network>.<precision>", in FP32, FP16 and INT8."""
    return files_in(quantise(embedded_bundle(), tmp_path_factory.mktemp("mobile")))


def files_in(*folders: Path) -> dict[str, Path]:
    return {path.stem: path for folder in folders for path in folder.glob("*.onnx")}


def quantise(bundle: Path, folder: Path) -> Path:
    """The bundle with INT8 files, from their ranges on generated images."""
    side = Bundle(bundle).spec.image_size
    images = {}
    for index, image_HWC in enumerate(parity_images(side)):
        images[str(index)] = folder / f"{index}.png"
        Image.fromarray(image_HWC).save(images[str(index)])
    out = folder / "int8"
    quantise_bundle(Bundle(bundle), images, out, setting=QuantSetting(method="minmax"))
    return out


# What is exported


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_tiny_networks_build(tiny: dict[str, Path], name: str, precision: str) -> None:
    built = build(tiny[f"{name}.{precision}"])
    assert built.plan
    assert built.said == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mobile_networks_build_in_the_precision_of_the_file(
    mobile: dict[str, Path], name: str
) -> None:
    files = {precision: mobile[f"{name}.{precision}"] for precision in ("fp32", "fp16")}
    built = {precision: build(path) for precision, path in files.items()}
    for precision, path in files.items():
        assert built[precision].said == ()
        assert missing_in(built[precision].plan, path) == []
    if name in HEAVY:
        # Half of the weights' bytes are saved; half precision has some more kernels.
        saved = len(built["fp32"].plan) - len(built["fp16"].plan)
        assert saved == pytest.approx(files["fp16"].stat().st_size, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_int8_networks_keep_the_rules_and_build_in_int8(mobile: dict[str, Path], name: str) -> None:
    path = mobile[f"{name}.int8"]
    check_quantized(onnx.load(path))
    built = build(path)
    # Its scales are in half precision like the rest.
    assert [line for line in built.said if not line.endswith("scales to fp32.")] == []
    assert missing_in(built.plan, path) == []


def test_where_weights_dominate_int8_plans_are_a_third_of_the_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = [torch.nn.Conv2d(3, 512, 3, padding=1)]
    for _ in range(4):
        layers += [torch.nn.ReLU(), torch.nn.Conv2d(512, 512, 3, padding=1)]
    network = torch.nn.Sequential(*layers).eval()
    exact, coarse = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    image = torch.rand(1, 3, 14, 14)
    torch.onnx.export(
        network, (image,), exact, input_names=["x"], dynamo=True, external_data=False, verbose=False
    )
    model = onnx.load(exact)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"][1:]
    quantised = quantize.quantise(
        model, convolutions, lambda: [{"x": image.numpy()}],
        method="minmax", data_digest="", cache=tmp_path,
    )  # fmt: skip
    onnx.save(quantised, coarse)
    sizes = [len(build(path).plan) for path in (exact, coarse)]
    assert sizes[1] / sizes[0] == pytest.approx(1 / 3, abs=0.09)


def missing_in(plan: bytes, path: Path) -> list[str]:
    """Weights of 1x1 convolutions that do not stand in a plan bit by bit, or transposed.

    Those of fewer than 8 channels are padded; other convolutions' are laid out in many ways.
    """
    return [
        made.name
        for made in onnx.load(path).graph.initializer
        if len(made.dims) == 4 and made.dims[2:] == [1, 1] and min(made.dims[:2]) >= 8
        for weight in [numpy_helper.to_array(made)[:, :, 0, 0]]
        if weight.tobytes() not in plan and weight.T.tobytes() not in plan
    ]


# What is not: TensorRT-RTX's word, and ours


@pytest.mark.parametrize(
    ("changes", "theirs", "ours"),
    [
        (
            {"zero_point": np.array(3, np.int8)},
            "Non-zero zero point is not supported",
            "x_there_QuantizeLinear: zero point 3",
        ),
        (
            {"bias": np.arange(8, dtype=np.int32)},
            "bias_back_DequantizeLinear: input has type Int32 but must have type FP8",
            "bias_back_DequantizeLinear: bias is int32",
        ),
        (
            {"scale": np.array(0.0, np.float32)},
            "Scale coefficients must all be positive",
            "x_there_QuantizeLinear: scale 0",
        ),
    ],
)
def test_what_the_parser_refuses_is_caught_before(
    quantized_graphs: ModuleType, tmp_path: Path, changes: dict[str, Any], theirs: str, ours: str
) -> None:
    built = caught(quantized_graphs.conv(**changes), ours, tmp_path)
    assert not built.plan
    assert theirs in "\n".join(built.said)


@pytest.mark.parametrize("op_type", ["Add", "Mul"])
def test_a_quantised_constant_is_refused_when_building(
    quantized_graphs: ModuleType, tmp_path: Path, op_type: str
) -> None:
    """``1 + x``; parsing says nothing."""
    model = quantized_graphs.with_constant(op_type, ["constant"])
    built = caught(model, f"y_{op_type}: its constant one is quantised", tmp_path)
    assert not built.plan
    assert "Quantized constant (one) is only allowed before DQ" in "\n".join(built.said)


def test_uint8_is_read_as_int8_with_no_more_than_a_warning(
    quantized_graphs: ModuleType, tmp_path: Path
) -> None:
    model = quantized_graphs.conv(zero_point=np.array(0, np.uint8))
    built = caught(model, "x_there_QuantizeLinear: quantised to uint8", tmp_path)
    assert built.plan
    assert built.said
    assert all("Defaulting to INT8 instead" in line for line in built.said)


def test_uint8_that_is_not_written_down_is_read_as_int8_without_a_word(
    quantized_graphs: ModuleType, tmp_path: Path
) -> None:
    model = quantized_graphs.conv(zero_point=None)
    built = caught(model, "x_there_QuantizeLinear: quantised to uint8", tmp_path)
    assert built.plan
    assert built.said == ()


def test_a_computed_scale_crashes(quantized_graphs: ModuleType, tmp_path: Path) -> None:
    model = quantized_graphs.conv_with_computed_scale()
    built = caught(model, "x_there_QuantizeLinear: scale scale is computed", tmp_path)
    assert built.crashed


def caught(model: onnx.ModelProto, ours: str, folder: Path) -> Built:
    """Our rules name the node; what TensorRT-RTX makes of it is returned."""
    with pytest.raises(GateFailed, match=f"^{ours}"):
        check_quantized(model)
    onnx.save(model, folder / "bad.onnx")
    return build(folder / "bad.onnx")
