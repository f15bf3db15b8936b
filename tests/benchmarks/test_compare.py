import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ckd.benchmarks import systems_cli
from ckd.benchmarks.compare import NNCF, REFERENCE, Comparison, check_entrants, compare
from ckd.benchmarks.compare_report import to_json, to_markdown, write_comparison
from ckd.benchmarks.compare_run import judges
from ckd.benchmarks.measure import Ratio
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017
from ckd.export.bundle import write_bundle
from ckd.export.onnx import export_onnx
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.systems.graph import Node, System


class Whole(nn.Module):
    """Classes and a mask, of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.mask = nn.Conv2d(8, 1, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.second(torch.relu(self.first(image))))
        return self.head(x.mean((2, 3))), self.mask(x)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compare")
    torch.manual_seed(0)
    labels = ("MEL", "SBK", "NEV")
    system = System(
        "toy",
        (Node("whole", Whole(), (IMAGE,), ("logits", "mask_logits")),),
        labels,
        ("MEL", "SBK"),
        32,
        OutputSpec("logits", "mask_logits"),
    ).eval()
    write_bundle(system, folder / "float", name="toy", provenance={})
    export_onnx(system.nodes[0], system, folder / "fused.onnx")
    write_isic2017(folder / "data", num_train=4, num_val=10, side_px=48)
    images = sorted((folder / "data").rglob("*Training_Data/*.jpg"))
    quantise_bundle(
        Bundle(folder / "float"),
        {path.name: path for path in images},
        folder / "int8",
        setting=QuantSetting(method="minmax"),
    )
    with pytest.MonkeyPatch.context() as patch:
        run_folder = SimpleNamespace(load_run=lambda run: (None, system))
        patch.setitem(sys.modules, "ckd.train.fitting.run_folder", run_folder)
        return compare(
            folder / "int8", Path("a-run"), folder / "fused.onnx", threads=1, warmup=1, runs=3,
            weights="untrained", command="ckd-bench compare", calibration=images,
            samples=read_split(folder / "data", "val"),
        )  # fmt: skip


def test_every_backend_and_precision_runs_beside_its_peers(comparison: Comparison) -> None:
    names = [entrant.name for entrant in comparison.entrants]
    assert names[:2] == [REFERENCE, "ONNX Runtime, fused graph FP32"]
    assert {"ckd, onnxruntime FP32", "ckd, onnxruntime INT8"} <= set(names)
    for entrant in comparison.entrants:
        assert entrant.frame.runs == entrant.networks.runs == 3
        assert entrant.networks.min_ms < entrant.frame.min_ms
    reference = comparison.entrants[0]
    assert reference.networks_speedup.median == reference.frame_speedup.median == 1.0


def test_accuracy_is_compared_with_pytorch(comparison: Comparison) -> None:
    costs = {entrant.name: entrant.cost for entrant in comparison.entrants}
    for name in (REFERENCE, "ONNX Runtime, fused graph FP32", "ckd, onnxruntime FP32"):
        cost = costs[name]
        assert cost is not None
        assert cost.jaccard == pytest.approx(0.0, abs=1e-3)
        assert set(cost.flips.values()) == {0.0}
    assert costs["ckd, onnxruntime INT8"] is not None


def test_report_names_machine_command_and_every_entrant(
    comparison: Comparison, tmp_path: Path
) -> None:
    assert write_comparison(comparison, tmp_path) == ["compare.json", "compare.md", "compare.png"]
    text = to_markdown(comparison)
    assert comparison.machine.cpu in text
    assert "`ckd-bench compare`" in text
    assert all(f"| {entrant.name} |" in text for entrant in comparison.entrants)
    tree = json.loads(to_json(comparison))
    assert tree["measured"] == "compare"
    assert len(tree["entrants"]) == len(comparison.entrants)
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_report_says_how_sure_changed_decisions_are_and_how_int8_stands_against_nncf(
    comparison: Comparison,
) -> None:
    text = to_markdown(comparison)
    assert "0.0% (0.0% to 27.8%)" in text  # of ten images
    assert "Times NNCF" not in text or NNCF in text
    ours = "ckd, onnxruntime INT8"
    ratio = Ratio(1.25, 1.1, 1.4)
    entrants = tuple(
        replace(entrant, nncf_speedup=ratio if entrant.name == ours else None)
        for entrant in comparison.entrants
    )
    text = to_markdown(replace(comparison, entrants=entrants))
    assert f"Times NNCF's default INT8, networks alone: {ours} 1.25x." in text


def test_a_fold_is_of_a_run_and_its_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fold goes with --run and --data"):
        systems_cli.compare_command(recipe=["ckdnet-tiny"], data=tmp_path, fold="0/3")


def test_the_images_of_a_fold_judge(tmp_path: Path) -> None:
    write_isic2017(tmp_path / "data", num_train=20, num_val=2, side_px=32)
    recipe = ckdnet_tiny()
    whole = read_split(tmp_path / "data", "train")
    folds = [judges(tmp_path / "data", recipe, (k, 2)) for k in range(2)]
    assert sorted(s.id for fold in folds for s in fold.samples) == sorted(
        s.id for s in whole.samples
    )
    _, held_out = split_fold(whole, 1, 2, recipe.seed)
    assert folds[1].samples == held_out.samples
    assert judges(tmp_path / "data", recipe, None).split == "val"


def test_another_network_is_no_entrant() -> None:
    class Step:
        def __init__(self, *values: float) -> None:
            self.values = values

        def __call__(self) -> None:
            pass

        def logits(self) -> dict[str, np.ndarray[Any, Any]]:
            return {"logits": np.array(self.values)}

    same = {REFERENCE: Step(1.0, -2.0), "ckd FP32": Step(1.001, -2.0), "ckd INT8": Step(0.0, -1.0)}
    check_entrants(same)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ckd FP32: logits differ"):
        check_entrants({**same, "ckd FP32": Step(1.5, -2.0)})  # type: ignore[dict-item]
