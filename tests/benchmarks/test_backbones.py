"""Encoders measured in a whole cascade, and the list that `ckd-train backbones` prints."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from ckd.benchmarks import backbones
from ckd.benchmarks.backbones import BackboneReport, measure_backbones, write_backbones
from ckd.contract.errors import UsageError
from ckd.export import bundle as bundle_module
from ckd.export.parity import parity_images
from ckd.train import cli
from ckd.train.networks.survey import encoder_cost, read_measured
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import Node, System

if TYPE_CHECKING:
    from ckd.train.networks.survey import MeasuredBackbone

VIT = "vit_tiny_patch16_224"


@pytest.fixture
def report(
    make_tiny_system: Callable[[], System], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> BackboneReport:
    """Of the committed tiny cascade in place of a large one, and of one that cannot be cut."""

    def build(shape: CkdNet, *rest: Any) -> System:
        return real(shape, *rest) if shape.backbone == VIT else make_tiny_system()

    def copy(node: Node, system: System, path: Path, precision: str) -> None:
        shutil.copy(tiny_bundle / path.name, path)

    real = CkdNet.build
    monkeypatch.setattr(CkdNet, "build", build)
    monkeypatch.setattr(bundle_module, "export_onnx", copy)
    monkeypatch.setattr(backbones, "frame", lambda: parity_images(64, 1)[0])
    monkeypatch.setattr(backbones, "calibrate_batch_norm", lambda system: None)
    return measure_backbones(
        ["mobilenetv4_conv_small", VIT], image_size=32, threads=1, warmup=0, runs=2, command="it"
    )


def test_a_cascade_is_exported_quantised_and_timed(
    report: BackboneReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, vit = report.backbones
    assert (whole.refusal, whole.exports, whole.quantises) == (None, True, True)
    assert whole.fp32_ms is not None
    assert whole.int8_ms is not None
    assert min(whole.fp32_ms, whole.int8_ms) > 0
    assert (vit.exports, vit.quantises, vit.fp32_ms) == (False, False, None)
    assert vit.refusal == report.costs[1].refusal

    written = write_backbones(report, tmp_path)
    assert written == ["backbones.json", "backbones.md"]
    text = (tmp_path / "backbones.md").read_text()
    assert "| mobilenetv4_conv_small | timm | 1.26 M |" in text
    assert f"{VIT} cannot be cut: its maps have strides 16" in text

    file = tmp_path / "backbones.json"
    read: MeasuredBackbone = read_measured(file, 32)["mobilenetv4_conv_small"]
    assert read.fp32_ms == pytest.approx(whole.fp32_ms, rel=1e-4)
    with pytest.raises(UsageError, match=r"backbones\.json: measured at 32 px, expected 192"):
        read_measured(file, 192)
    cli.backbones_command([VIT, "mobilenetv4_conv_small"], size=32, measured=file)
    printed = capsys.readouterr()
    head, refused, row = printed.out.splitlines()
    assert head.split()[-4:] == ["exports", "quantises", "FP32", "INT8"]
    assert refused.split() == [VIT, "timm", "no", "no", "no"]
    assert row.split()[-7:] == [
        "yes", "yes", "yes", f"{read.fp32_ms:.1f}", "ms", f"{read.int8_ms:.1f}", "ms",
    ]  # fmt: skip
    assert f"{VIT} cannot be cut" in printed.err


@pytest.mark.parametrize("text", ["", "[]", '{"backbones": [{"backbone": "resnet18"}]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UsageError, match=r"b\.json: not what `ckd-bench backbones"):
        read_measured(tmp_path / "b.json", 192)
    with pytest.raises(UsageError, match=r"absent\.json: cannot be read"):
        read_measured(tmp_path / "absent.json", 192)


def test_counts_are_those_of_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    cli.backbones_command(["mobilenet_v2"], size=224, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["channels"] == [16, 24, 32, 96, 320]
    assert row["parameters"] == 2_223_872  # Sandler et al.: 3.4 M with the classifier's 1.28 M
    assert row["macs"] == pytest.approx(300e6, rel=0.01)  # Sandler et al.: 300 M
    assert row["measured"] is None


def test_a_size_that_cannot_be_halved_and_an_unknown_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--size 100: .*try 96"):
        cli.backbones_command(["mobilenet_v2"], size=100)
    with pytest.raises(UsageError, match=r"'resnet19' is no encoder"):
        encoder_cost("resnet19", 64)
