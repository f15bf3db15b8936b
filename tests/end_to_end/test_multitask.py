"""The multi-task net from generated photographs to `ckd-run`: two steps of training, every command.

Its labels do not exclude each other, and are not those of the data set: MEL and SBK of MEL, SBK,
NEV. The biases of the trained heads are set low, so that every image is of neither.
"""

import csv
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ckd import console
from ckd.contract.bundle import Bundle
from ckd.data.synthetic.write import write_isic2017
from ckd.train.fitting.run_folder import load_run
from ckd.train.fitting.stage_folder import StageFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The number of training batches .* is smaller than the logging interval",
        "ignore:Total length of `list` across ranks is zero",
        # Lightning calls what PyTorch has deprecated.
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated",
    ),
]

SETTINGS = {
    "image_size": "64",
    "system.decoder_widths": "[8,8,8,8,4]",
    "stages.net.epochs": "1",
    "stages.net.batch_size": "4",
}
Ckd = Callable[..., None]


@pytest.fixture(scope="module")
def ckd() -> Ckd:
    """Runs a command in this process: `ckd("train", "fit", ...)`."""

    def run(tool: str, *arguments: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [f"ckd-{tool}", *map(str, arguments)])
            package = {"run": "runtime"}.get(tool, tool)
            with pytest.raises(SystemExit) as ended:
                console.run(importlib.import_module(f"ckd.{package}.cli").cli)
        assert not ended.value.code, (tool, arguments)

    return run


@pytest.fixture(scope="module")
def work(ckd: Ckd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, `run` (trained and evaluated) and `bundle`."""
    work = tmp_path_factory.mktemp("multitask")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    write_isic2017(work / "data", num_train=8, num_val=8, side_px=64)
    changed = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    ckd(
        "train", "fit", "--recipe", "multitask", "--data", work / "data", "--weights", "none",
        "--out", work / "run", "--accelerator", "cpu", *changed,
    )  # fmt: skip
    stage = StageFolder(work / "run" / "net")
    networks = stage.networks()
    networks["net"]["classify.fc.bias"].fill_(-4.0)
    stage.keep(networks)
    ckd("train", "evaluate", work / "run", "--data", work / "data", "--accelerator", "cpu")
    ckd("export", "bundle", work / "run", "--out", work / "bundle", "--explain")
    torch.set_num_threads(before)
    return work


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_run_knows_its_labels_and_the_data_sets(work: Path) -> None:
    described = json.loads((work / "run" / "data.json").read_text())
    assert described["labels"] == ["MEL", "SBK", "NEV"]
    recipe, system = load_run(work / "run")
    assert recipe.name == "multitask"
    saved = torch.load(work / "run" / "net" / "last.ckpt", weights_only=False)
    assert saved["labels"] == ["MEL", "SBK"]
    assert system.labels == ("MEL", "SBK")
    # Two steps move what batch normalisation remembers.
    moved = system.networks["net"].get_submodule("decode.4.convs.1.1").get_buffer("running_mean")
    assert moved.any()


def test_images_of_neither_label_are_scored(work: Path) -> None:
    scores = json.loads((work / "run" / "evaluate" / "scores.json").read_text())
    assert (work / "run" / "evaluate" / "explanations.png").exists()
    assert list(scores["classification"]["per_label"]) == ["MEL", "SBK"]
    assert scores["segmentation"]["coarse"] is None
    rows = table(work / "run" / "evaluate" / "per_image.csv")
    assert list(rows[0])[:5] == ["id", "label", "MEL", "SBK", "top"]
    assert {row["label"] for row in rows} == {"MEL", "SBK", "other"}
    assert {row["top"] for row in rows} == {"other"}
    right = np.mean([row["label"] == "other" for row in rows])
    assert scores["classification"]["accuracy"] == pytest.approx(right)


def test_the_bundle_is_one_network_with_two_questions(
    ckd: Ckd, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Bundle(work / "bundle").spec
    assert spec.labels == spec.tasks == ("MEL", "SBK")
    assert not spec.outputs.exclusive
    assert [node.name for node in spec.nodes] == ["net"]
    ckd("export", "verify", work / "bundle")
    ckd("run", "info", work / "bundle")
    said = capsys.readouterr().out
    assert "acceptance cases passed" in said
    assert "an image may be of none" in said


def test_a_device_says_that_an_image_is_of_neither(
    ckd: Ckd, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((work / "data").glob("*Validation_Data/*.jpg"))
    command = ("run", "image", image, "--bundle", work / "bundle", "--backend", "onnxruntime")
    ckd(*command, "--out", work / "lines")
    assert "none of MEL, SBK" in capsys.readouterr().out
    ckd(*command, "--out", work / "json", "--json")
    finding = json.loads(capsys.readouterr().out.splitlines()[0])
    assert finding["top"] is None
    assert list(finding["probabilities"]) == ["MEL", "SBK"]
    assert (work / "json" / f"{image.stem}_explanation.png").stat().st_size > 0
    (row,) = table(work / "json" / "predictions.csv")
    assert list(row) == ["image", "MEL", "SBK"]

    # The device answers as the evaluation did: probabilities that need not sum to 1.
    evaluated = {r["id"]: r for r in table(work / "run" / "evaluate" / "per_image.csv")}
    for label, probability in finding["probabilities"].items():
        assert probability < 0.5
        assert float(row[label]) == pytest.approx(probability, abs=1e-6)
        assert float(evaluated[image.stem][label]) == pytest.approx(probability, abs=1e-4)
