"""A training in two processes does what one process would do."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader

from ckd.contract.labels import ISIC2017
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017
from ckd.scores.images import mask_scores
from ckd.train.evaluation.scoring import PlainImages, score_batch
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns

PROGRAM = Path(__file__).parent / "two_processes.py"

#: 33 images to validate on: one process gets two batches of them, the other one.
NUM_VAL = 33


@dataclass(frozen=True)
class TwoProcesses:
    """What each of two processes recorded of a run that went through, and of one killed and
    resumed."""

    folder: Path
    recipe: Recipe

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def records(self, name: str) -> list[dict[str, Any]]:
        return [json.loads((self.folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def two(runs: "TrainingRuns") -> TwoProcesses:
    recipe = with_overrides(
        runs.recipe, ["stages.rootseg.batch_size=2", "stages.rootseg.select=best"]
    )

    def make(folder: Path) -> None:
        write_isic2017(folder / "data", num_train=runs.num_train + 1, num_val=NUM_VAL, side_px=64)
        recipe.save(folder / "two.json")
        run_program(folder)

    return TwoProcesses(runs.shared("two", make), recipe)


def run_program(folder: Path) -> None:
    # Lightning starts the second process itself, as the first one was started.
    launched = {"LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", PROGRAM, folder / "data", folder],
        env={k: v for k, v in os.environ.items() if k not in launched} | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # both processes, which wait for each other
        pytest.fail(f"two processes hung:\n{process.communicate()[0][-4000:]}")
    assert process.returncode == 0, output[-4000:]


@pytest.mark.system
def test_two_processes_see_every_image_once_an_epoch(two: TwoProcesses) -> None:
    records = two.records("through")
    for epoch in (0, 1):
        shares = [[batch for e, _, batch in r["seen"] if e == epoch] for r in records]
        assert sorted(i for share in shares for batch in share for i in batch) == list(range(11))
        # Batches of four, the three left over joined to the last.
        assert [[len(batch) for batch in share] for share in shares] == [[2, 4], [2, 3]]


@pytest.mark.system
def test_two_processes_end_with_the_same_parameters(two: TwoProcesses) -> None:
    for name in ("through", "resumed"):
        first, second = (record["parameters"] for record in two.records(name))
        assert len(first) == 1
        assert first == second


@pytest.mark.system
def test_two_processes_validate_as_one_would(runs: "TrainingRuns", two: TwoProcesses) -> None:
    first, second = two.records("through")
    assert first["figures"] == second["figures"]
    assert [(epoch, count) for epoch, count, _ in first["figures"]] == [(0, NUM_VAL), (1, NUM_VAL)]
    assert len(first["answers"]) == 17
    answers = {**first["answers"], **second["answers"]}
    assert len(answers) == NUM_VAL

    system = two.recipe.system.build(ISIC2017, runs.recipe.tasks, 64, None).eval()
    prefix = "system."
    saved = runs.checkpoint(two.folder / "a", "rootseg")["state_dict"]
    system.load_state_dict({k.removeprefix(prefix): v for k, v in saved.items()}, strict=False)
    val = read_split(two.data, "val").with_masks()
    scores = []
    with torch.no_grad():
        for batch in DataLoader(PlainImages(val, 64), batch_size=11):
            tensors = system(batch["image"], ("coarse_logits",))
            samples = [val.samples[int(i)] for i in batch["index"]]
            scores += score_batch(system, tensors, samples)
            for sample, logits in zip(samples, tensors["coarse_logits"], strict=True):
                # Other batches, other kernels: another order of sums.
                assert answers[sample.id] == pytest.approx(logits.mean().item(), abs=1e-4)
    one = mask_scores(scores, "coarse")
    assert one is not None
    both = first["figures"][1][2]
    # Such a difference may turn a pixel at the border over: one of 4,096 in a few images.
    assert both["pixel_accuracy"] == pytest.approx(one.accuracy, abs=1e-4)
    assert both["jaccard"] == pytest.approx(one.jaccard, abs=1e-3)


@pytest.mark.system
def test_two_processes_take_up_an_interrupted_run(runs: "TrainingRuns", two: TwoProcesses) -> None:
    for killed in two.records("killed"):
        assert killed["killed"]
        assert [step[:2] for step in killed["seen"]] == [[0, 0], [0, 1], [1, 0]]
    for taken_up in two.records("resumed"):
        assert [step[:2] for step in taken_up["seen"]] == [[1, 0], [1, 1]]
    through, resumed = two.folder / "a", two.folder / "b"
    runs.assert_same(runs.weights_of(resumed, "rootseg"), runs.weights_of(through, "rootseg"))
    for state in ("state_dict", "current_model_state"):
        runs.assert_same(
            runs.checkpoint(resumed, "rootseg")[state], runs.checkpoint(through, "rootseg")[state]
        )
