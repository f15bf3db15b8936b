"""One step of training: what is trained, at which rates, on what loss."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.contract.errors import (
    GateFailed,
)
from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.train.fitting.module import StageModule
from ckd.train.losses import MaskLoss
from ckd.train.losses.segmentation import binary_focal, soft_dice
from ckd.train.recipes.stage import Stage
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.graph import Node, System

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


@pytest.fixture
def module(runs: "TrainingRuns") -> Callable[[str], StageModule]:
    torch.manual_seed(0)
    system = runs.recipe.system.build(ISIC2017, runs.recipe.tasks, 64, None)
    train_set = read_split(runs.data, "train")

    def make(stage: str) -> StageModule:
        return StageModule(runs.recipe, runs.recipe.stage(stage), system, train_set, None)

    return make


@pytest.mark.parametrize("stage", ["rootseg", "cls", "seg"])
def test_only_the_stages_nodes_are_trained(
    runs: "TrainingRuns", module: Callable[[str], StageModule], stage: str
) -> None:
    stage_module = module(stage)
    stage_module.train()
    nodes = runs.recipe.stage(stage).nodes
    for name, network in stage_module.system.networks.items():
        assert {p.requires_grad for p in network.parameters()} == {name in nodes}
        assert {m.training for m in network.modules()} == {name in nodes}


def test_a_fresh_stem_bn_learns_at_the_rate_of_the_new_layers(runs: "TrainingRuns") -> None:
    recipe = with_overrides(runs.recipe, ["system.stem_bn=fresh", "stages.cls.encoder_lr=5e-4"])
    system = recipe.system.build(ISIC2017, recipe.tasks, 64, None)
    module = StageModule(recipe, recipe.stage("cls"), system, read_split(runs.data, "train"), None)
    _, rest = module.configure_optimizers().param_groups
    stem_bn = next(m for m in system.networks["cls"].modules() if isinstance(m, nn.BatchNorm2d))
    assert {id(p) for p in stem_bn.parameters()} <= {id(p) for p in rest["params"]}


@pytest.mark.parametrize(
    ("stage", "encoders"), [("rootseg", "rootseg"), ("cls", "cls"), ("seg", "seg_encoder")]
)
def test_encoders_have_a_learning_rate_of_their_own(
    runs: "TrainingRuns", module: Callable[[str], StageModule], stage: str, encoders: str
) -> None:
    stage_module = module(stage)
    stage_module.stage = replace(
        stage_module.stage,
        lr=3e-3,
        encoder_lr=5e-4,
        schedule=runs.recipe.stage("cls").schedule,
        ema_decay=None,
        select="best",
    )
    optimizer = stage_module.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam  # whose weight decay is L2
    first, second = optimizer.param_groups
    assert (first["lr"], second["lr"]) == (5e-4, 3e-3)
    assert first["weight_decay"] == second["weight_decay"] == stage_module.stage.weight_decay
    encoder = stage_module.system.networks.get_submodule(f"{encoders}.encoder")
    assert [id(p) for p in first["params"]] == [id(p) for p in encoder.parameters()]
    trained = {
        id(p)
        for n in stage_module.stage.nodes
        for p in stage_module.system.networks[n].parameters()
    }
    grouped = [id(p) for group in (first, second) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == trained


@pytest.mark.parametrize("what", ["encoder.stem.0.1.running_mean", "decode.3.bias"])
def test_a_change_upstream_does_not_pass(module: Callable[[str], StageModule], what: str) -> None:
    stage_module = module("cls")
    stage_module.check_frozen()
    stage_module.system.networks["rootseg"].state_dict()[what].add_(1e-6)
    with pytest.raises(GateFailed, match="frozen network was changed"):
        stage_module.check_frozen()


class Fixed(nn.Module):
    """Answers with its weights, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(2, 1, 8, 8))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize("accumulate", [1, 3])
def test_coarse_logits_are_enlarged_corner_to_corner_for_the_loss(
    runs: "TrainingRuns", accumulate: int
) -> None:
    torch.manual_seed(0)
    fixed = Fixed()
    node = Node("net", fixed, (IMAGE,), ("coarse",))
    system = System("toy", [node], ("A",), (), 32, OutputSpec(coarse_logits="coarse"))
    stage = Stage(
        name="net", nodes=("net",), losses=(MaskLoss(output="coarse", pixel_weight=0.5),),
        epochs=1, batch_size=2, accumulate=accumulate,
    )  # fmt: skip
    stage_module = StageModule(
        runs.recipe, stage, system, SampleSet("s", "train", ("A",), ()), None
    )
    stage_module.log = lambda *_, **__: None  # type: ignore[method-assign]
    mask = (torch.rand(2, 1, 32, 32) > 0.5).float()
    batch = {"image": torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "mask": mask,
             "index": torch.tensor([0, 1])}  # fmt: skip
    enlarged = F.interpolate(fixed.logits, (32, 32), mode="bilinear", align_corners=True)
    expected = accumulate * (soft_dice(enlarged, mask) + 0.5 * binary_focal(enlarged, mask))
    got = stage_module.training_step(batch, 0)
    # The same sums; only the enlargement's products may be rounded otherwise.
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.slow
def test_gradients_of_accumulated_batches_are_summed(runs: "TrainingRuns", tmp_path: Path) -> None:
    steps: list[list[Tensor]] = []

    class Record(pl.Callback):
        def on_before_optimizer_step(self, _: Any, module: pl.LightningModule, *__: Any) -> None:
            assert isinstance(module, StageModule)
            gradients = (p.grad for p in module.system.networks["rootseg"].parameters())
            steps.append([g.clone() for g in gradients if g is not None])

    # At next to no learning rate all batches of the epoch meet the same weights.
    still = ["stages.rootseg.lr=1e-30", "stages.rootseg.encoder_lr=0", "stages.rootseg.epochs=1",
             'stages.rootseg.schedule.kind="constant"']  # fmt: skip
    for accumulate in (1, 2):
        recipe = with_overrides(runs.recipe, [*still, f"stages.rootseg.accumulate={accumulate}"])
        out = tmp_path / f"run{accumulate}"
        runs.fit(out, recipe, runs.rootseg, callbacks=[Record()])
    first, second, third, both, rest = steps
    for g1, g2, g3, g12, g in zip(first, second, third, both, rest, strict=True):
        # Two ways of summing the same numbers.
        torch.testing.assert_close(g12, g1 + g2, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(g, g3, rtol=1e-4, atol=1e-6)  # a last group of one
    assert sum(g.abs().sum() for g in both) > 0
