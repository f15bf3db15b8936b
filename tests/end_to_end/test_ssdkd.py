"""SSD-KD from generated images to `ckd-run`: every phase, and a bundle of the student alone."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ckd.contract.labels import ISIC2017

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from ckd.train.data.synthetic import write_isic2017
from ckd.train.recipes.ssdkd import ssdkd

pytestmark = [
    pytest.mark.filterwarnings(warning)
    for warning in (
        # Lightning's hints, true of these runs and meant.
        "ignore:Checkpoint directory .* exists and is not empty",
        "ignore:The number of training batches .* is smaller than the logging interval",
        r"ignore:Found \d+ module\(s\) in eval mode at the start of training",
        "ignore:Total length of `list` across ranks is zero",
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated",
    )
]

Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as its entry point does, and gives what it printed."""

    def run(package: str, *arguments: str | Path) -> str:
        cli = importlib.import_module(f"ckd.{package}.cli").cli
        cli([str(argument) for argument in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_a_taught_student_is_deployed_alone(tmp_path: Path, command: Command) -> None:
    data, run, bundle = tmp_path / "data", tmp_path / "run", tmp_path / "bundle"
    write_isic2017(data, num_train=8, num_val=3, side_px=64)
    settings = ["image_size=64", "system.teacher=resnet18", "system.student=mnasnet0_5"]
    for stage in ssdkd().stages:  # two steps each
        settings += [f"stages.{stage.name}.epochs=1", f"stages.{stage.name}.batch_size=4"]
    options = [part for setting in settings for part in ("--set", setting)]
    command(
        "train", "fit", "--recipe", "ssdkd", "--data", data, "--out", run,
        "--weights", "none", "--accelerator", "cpu", *options,
    )  # fmt: skip
    assert all((run / stage.name / "weights.pt").is_file() for stage in ssdkd().stages)

    scores = json.loads(command("train", "evaluate", run, "--data", data, "--json"))
    assert set(scores["classification"]["per_label"]) == set(ISIC2017)
    command("export", "bundle", run, "--out", bundle)
    command("export", "verify", bundle)
    cascade = json.loads((bundle / "cascade.json").read_text())
    assert [node["name"] for node in cascade["nodes"]] == ["student"]
    assert cascade["nodes"][0]["outputs"] == ["logits"]
    assert tuple(cascade["labels"]) == ISIC2017
    assert [path.name for path in bundle.glob("*.onnx")] == ["student.fp32.onnx"]

    image = next((data / "ISIC-2017_Validation_Data").glob("*.jpg"))
    out = command(
        "runtime", "image", image, "--bundle", bundle, "--out", tmp_path / "out",
        "--backend", "onnxruntime", "--json",
    )  # fmt: skip
    (record,) = map(json.loads, out.splitlines())
    assert tuple(record["probabilities"]) == ISIC2017
    assert sum(record["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)  # six digits
    assert record["top"] in ISIC2017
