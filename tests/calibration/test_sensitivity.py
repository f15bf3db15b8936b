import json
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("matplotlib")

from ckd.calibration import cli
from ckd.calibration.int8_bundle import QuantSetting
from ckd.calibration.placement import layer_groups, quantised_layers
from ckd.calibration.sensitivity import (
    Effect,
    measure_sensitivity,
    round_to_int8,
)
from ckd.contract.bundle import Bundle


@pytest.fixture(scope="module")
def effects(lesions: Path, tiny_bundle: Path) -> dict[str, Effect]:
    images = {path.name: path for path in sorted(lesions.iterdir())[:10]}
    measured = measure_sensitivity(Bundle(tiny_bundle), images, QuantSetting(method="minmax"), 4)
    return {effect.name: effect for effect in measured}


def test_every_network_part_and_edge_is_tried(
    effects: dict[str, Effect], tiny_bundle: Path
) -> None:
    kinds = {name: effect.kind for name, effect in effects.items()}
    assert kinds["rootseg"] == kinds["cls"] == kinds["seg_encoder"] == "network"
    assert kinds["seg_decoder/blocks.0"] == "part"
    assert kinds["gate1"] == kinds["mean4"] == kinds["h1"] == "edge"
    assert "image" not in kinds
    assert "logits" not in kinds


def test_effects_reach_what_lies_downstream_and_nothing_else(effects: dict[str, Effect]) -> None:
    for name in ("rootseg", "cls", "gate1"):
        assert effects[name].probability_shift
    for name in ("seg_encoder", "seg_decoder", "seg_decoder/blocks.0", "h1", "mean4"):
        assert effects[name].probability_shift == 0.0
    assert all(effects[name].mask_change for name in ("rootseg", "seg_decoder", "h1"))
    for effect in effects.values():
        assert effect.mask_change is not None
        assert effect.worst_mask_change is not None
        assert 0 <= effect.mask_change <= effect.worst_mask_change <= 1


def test_parts_hold_every_quantised_layer_once(tiny_bundle: Path) -> None:
    model = onnx.load(tiny_bundle / "seg_decoder.fp32.onnx")
    layers = quantised_layers(model, {"mask_logits"})
    groups = layer_groups(model, layers)
    assert sorted(layer for group in groups.values() for layer in group) == sorted(layers)
    assert {"knowledge.0", "blocks.0", "blocks.4"} <= set(groups)


def test_rounding_to_int8_is_symmetric_and_keeps_the_extremes() -> None:
    values = np.array([-2.54, -0.011, 0.0, 0.009, 1.0], np.float32)
    np.testing.assert_allclose(round_to_int8(values), [-2.54, -0.02, 0.0, 0.0, 1.0], atol=1e-6)
    np.testing.assert_array_equal(round_to_int8(np.zeros(3, np.float32)), 0.0)


def test_command_writes_table_and_plot(
    lesions: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["sensitivity", str(lesions), "--bundle", str(tiny_bundle), "--out", str(tmp_path)]
    cli.cli([*call, "--compared", "2", "--method", "minmax"], standalone_mode=False)
    assert "seg_decoder/blocks.0" in capsys.readouterr().out
    assert (tmp_path / "sensitivity.png").stat().st_size > 10_000
    names = [effect["name"] for effect in json.loads((tmp_path / "sensitivity.json").read_text())]
    assert "gate1" in names
