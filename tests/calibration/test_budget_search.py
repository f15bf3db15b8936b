"""The order of the search, on a bench whose costs and gains are made up and add up."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from ckd.calibration import budget
from ckd.calibration.budget import search
from ckd.calibration.cost import Budget, Cost
from ckd.calibration.int8_bundle import QuantSetting
from ckd.calibration.sensitivity import Effect
from ckd.calibration.trials import Trial
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017

ALLOWED = Budget(jaccard=0.005)
Tried = list[tuple[dict[str, tuple[str, ...]], bool]]


class FakeBench:
    """Costs and gains of networks in INT8; each part in float takes its own cost away."""

    def __init__(
        self,
        lost: Mapping[str, float],
        gain: Mapping[str, float],
        parts: Mapping[str, float] | None = None,
    ) -> None:
        self.lost, self.gain, self.parts = lost, gain, parts or {}
        self.tried: Tried = []

    def trial(self, int8: Mapping[str, Sequence[str]], out: Path | None = None) -> Trial:
        self.tried.append(({name: tuple(kept) for name, kept in int8.items()}, out is not None))
        kept = tuple(part for given in int8.values() for part in given)
        lost = sum(self.lost[name] for name in int8) - sum(self.parts[part] for part in kept)
        cost = Cost(jaccard=lost, auc={}, flips={}, melanoma_flips=0)
        speed_up = len(int8) / sum(1 / self.gain[name] for name in int8)
        misses = cost.misses(ALLOWED) + (["too slow"] if speed_up < 1.12 else [])
        return Trial(
            int8=tuple(int8),
            keep_float=kept,
            costs={"onnxruntime": cost},
            speed_up=speed_up,
            misses=tuple(misses),
        )


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Search the networks of the tiny bundle on a bench of one's own."""
    write_isic2017(tmp_path / "data", num_train=0, num_val=4, side_px=32, seed=1)
    samples = read_split(tmp_path / "data", "val")

    def searched(bench: FakeBench) -> tuple[Trial, Tried]:
        effects = [
            Effect(kind="part", name=part, probability_shift=lost, mask_change=0.0,
                   worst_mask_change=0.0)
            for part, lost in bench.parts.items()
        ]  # fmt: skip
        monkeypatch.setattr(budget, "Bench", lambda *given: bench)
        monkeypatch.setattr(budget, "measure_sensitivity", lambda *given, **named: effects)
        monkeypatch.setattr(budget, "check_judges", lambda *given: None)
        monkeypatch.setattr(
            budget, "planned_layers", lambda source, node, setting: node.name in bench.lost
        )
        accepted = search(
            Bundle(tiny_bundle), {}, samples, tmp_path / "out", budget=ALLOWED,
            setting=QuantSetting(),
        )  # fmt: skip
        return accepted, bench.tried

    return searched


def test_what_passes_alone_is_tried_together(run: Any) -> None:
    accepted, tried = run(FakeBench({"rootseg": 0.001, "cls": 0.001}, {"rootseg": 2, "cls": 2}))
    assert accepted.int8 == ("rootseg", "cls")
    alone = [({"rootseg": ()}, False), ({"cls": ()}, False)]
    assert tried == [*alone, ({"rootseg": (), "cls": ()}, True)]


def test_the_worst_parts_go_back_one_two_four(run: Any) -> None:
    parts = {f"cls/{index}": 0.001 * index for index in range(6)}
    accepted, tried = run(FakeBench({"cls": 0.017}, {"cls": 2}, parts))
    one, two = ("cls/5",), ("cls/5", "cls/4")
    four = ("cls/5", "cls/4", "cls/3", "cls/2")
    assert [kept["cls"] for kept, _ in tried] == [(), one, two, four, four]
    assert accepted.keep_float == four


def test_parts_that_suffice_end_the_search_of_a_network(run: Any) -> None:
    parts = {"cls/1": 0.004, "cls/2": 0.001, "cls/3": 0.0}
    accepted, tried = run(FakeBench({"cls": 0.008}, {"cls": 2}, parts))
    assert accepted.keep_float == ("cls/1",)
    assert len(tried) == 3


def test_what_is_not_faster_is_not_searched_for_parts(run: Any) -> None:
    lost = {"rootseg": 0.001, "cls": 0.1}
    accepted, tried = run(
        FakeBench(lost, {"rootseg": 2, "cls": 1.05}, {"cls/1": 0.1, "cls/2": 0.0})
    )
    assert accepted.int8 == ("rootseg",)
    assert [kept for kept, _ in tried] == [{"rootseg": ()}, {"cls": ()}, {"rootseg": ()}]


def test_over_the_budget_together_the_costliest_goes(run: Any) -> None:
    lost = {"rootseg": 0.002, "cls": 0.004, "seg_decoder": 0.001}
    accepted, tried = run(FakeBench(lost, dict.fromkeys(lost, 2.0)))
    assert accepted.int8 == ("rootseg", "seg_decoder")
    assert [written for _, written in tried] == [False, False, False, True, True]


def test_nothing_within_the_budget_writes_nothing(run: Any, tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="nothing in INT8 is both"):
        run(FakeBench({"cls": 0.1}, {"cls": 2}))
    assert not (tmp_path / "out").exists()
