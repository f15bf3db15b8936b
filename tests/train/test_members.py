"""Members of a network: several trainings whose answers are averaged, teach, or become one network.

Suffixes: B batch, H rows, W columns, C channels, K labels.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_recipes import taught_plain
from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.train.feeding.mixing import mixed
from ckd.train.fitting.soup import average, estimate_batch_norms
from ckd.train.losses import SoftLabels
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.taught import ckdnet_mobile_taught, plain_mobile
from ckd.train.recipes.text import load_recipe, with_overrides
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import System
from ckd.train.systems.members import MeanAnswer, States, averaged, with_members

SIDE_PX = 32


@pytest.fixture(scope="module")
def cascade() -> System:
    torch.manual_seed(1)
    shape = CkdNet(backbone="mobilenet_v2", rootseg_width=8, rootseg_low_width=4)
    return shape.build(ISIC2017, ISIC2017[:1], SIDE_PX, None).eval()


def weights(system: System, *nodes: str, plus: float = 0.0) -> States:
    """Weights of some networks; a classifier's first label is more likely by ``plus``."""
    shift = plus * torch.eye(len(ISIC2017))[0]
    return {
        node: {
            key: value + shift if key.endswith("fc.bias") else value.clone()
            for key, value in system.networks[node].state_dict().items()
        }
        for node in nodes
    }


@pytest.fixture
def image_BHWC() -> Tensor:
    return torch.randint(0, 256, (2, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8)


# Averaged answers ----------------------------------------------------------------------------


def test_the_mean_of_answers_is_that_of_probabilities() -> None:
    sure, unsure = torch.tensor([[9.0, 0.0, -3.0]]), torch.tensor([[0.0, 1.0, 0.5]])
    labels = MeanAnswer("labels")(sure, unsure)
    expected = (sure.softmax(1) + unsure.softmax(1)) / 2
    torch.testing.assert_close(labels.softmax(1), expected)
    pixels = MeanAnswer("yes_or_no")(sure, unsure)
    torch.testing.assert_close(pixels.sigmoid(), (sure.sigmoid() + unsure.sigmoid()) / 2)
    far = torch.tensor([[200.0, -200.0]])  # probabilities that float32 rounds to 0 and 1
    assert torch.isfinite(MeanAnswer("yes_or_no")(far, -far)).all()
    assert torch.isfinite(MeanAnswer("labels")(far, -far)).all()


def test_members_answer_behind_the_same_frozen_network(cascade: System, image_BHWC: Tensor) -> None:
    first, second = weights(cascade, "cls"), weights(cascade, "cls", plus=0.5)
    joined = with_members(cascade, [first, second])
    with torch.no_grad():
        tensors = joined(image_BHWC, ["logits", "members_logits"])
        alone = cascade(image_BHWC, ["logits"])["logits"]
        moved = averaged(cascade, [second, second]).eval()
        assert moved.outputs.class_logits == "members_logits"
        assert moved.outputs.mask_logits == "mask_logits"
        other = moved(image_BHWC, ["members_logits"])["members_logits"]
    torch.testing.assert_close(tensors["logits"], alone)
    assert not torch.allclose(other.softmax(1), alone.softmax(1))
    expected = (alone.softmax(1) + other.softmax(1)) / 2
    torch.testing.assert_close(tensors["members_logits"].softmax(1), expected)
    # The coarse network ran once, and the members are copies.
    assert [node.name for node in joined.needed(["members_logits"])].count("rootseg") == 1
    assert joined.networks["cls"] is cascade.networks["cls"]


def test_members_of_two_networks_pass_tensors_to_their_own_second_half(cascade: System) -> None:
    one = weights(cascade, "seg_encoder", "seg_decoder")
    joined = with_members(cascade, [one, one])
    node = next(node for node in joined.nodes if node.name == "member1_seg_decoder")
    assert "member1_h1" in node.inputs
    assert "mean1" in node.inputs  # of the one classifier


def test_members_without_an_answer_are_refused(cascade: System) -> None:
    with pytest.raises(UsageError, match="seg_encoder: none of these networks of ckdnet gives"):
        with_members(cascade, [weights(cascade, "seg_encoder")])


# Averaged weights ----------------------------------------------------------------------------


def test_weights_are_averaged_and_counters_are_not() -> None:
    first, second = nn.BatchNorm2d(2).state_dict(), nn.BatchNorm2d(2).state_dict()
    second["weight"] = torch.tensor([3.0, 5.0])
    second["num_batches_tracked"] = torch.tensor(7)
    mean = average([{"n": first}, {"n": second}])["n"]
    assert mean["weight"].tolist() == [2.0, 3.0]
    assert mean["num_batches_tracked"].item() == 0
    uneven = average([{"n": first}, {"n": second}], [0.75, 0.25])["n"]
    assert uneven["weight"].tolist() == [1.5, 2.0]


def test_running_statistics_are_those_of_the_views(cascade: System) -> None:
    torch.manual_seed(2)
    batches = [torch.randint(0, 256, (4, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8) for _ in "ab"]
    system = cascade.with_nodes(cascade.nodes)
    before = cascade.digest({"cls", "seg_encoder", "seg_decoder"})
    estimate_batch_norms(system, ["rootseg"], ["coarse_logits"], batches)
    conv, norm, *_ = system.networks["rootseg"].get_submodule("encoder.stem.0").children()
    with torch.no_grad():
        maps = [conv(system.image_input(batch)) for batch in batches]
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in maps]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1
    assert not norm.training
    assert system.digest({"cls", "seg_encoder", "seg_decoder"}) == before


# Mixed views ---------------------------------------------------------------------------------


def test_mixed_images_lie_between_two_of_the_batch() -> None:
    dark, light = torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), 200.0)
    image_BHWC = torch.cat([dark, light]).to(torch.uint8)
    batches = [mixed(image_BHWC, 0.4, np.random.default_rng(seed)) for seed in range(20)]
    assert {batch.dtype for batch in batches} == {torch.uint8}
    values = {int(image[0, 0, 0]) for batch in batches for image in batch}
    assert values - {0, 200}
    assert max(values) <= 200
    # The shares of a pair add up, whichever way it is mixed.
    assert all(int(batch[:, 0, 0, 0].sum()) in (200, 0, 400) for batch in batches)


def test_mixing_needs_losses_without_truth() -> None:
    with pytest.raises(UsageError, match=r"stages\.cls: .*mixed images have no label of their own"):
        with_overrides(plain_mobile(), ["stages.cls.mixup=0.4"])


# Recipes -------------------------------------------------------------------------------------


def test_the_taught_recipe_ends_each_network_in_the_average_of_its_students() -> None:
    recipe = ckdnet_mobile_taught()
    last = {node: stage for stage in recipe.stages for node in stage.nodes}
    for name, stage in last.items():
        assert isinstance(stage, Soup), name
        students = [recipe.stage(student) for student in stage.of]
        assert {student.seed for student in students} == {10, 11}
        members = [recipe.stage(name) for name in students[0].taught_by]
        assert {member.seed for member in members} == {0, 1, 2}
        assert not any(student.needs for student in students)  # soft answers alone
    assert recipe.seed == plain_mobile().seed  # one partition into folds for all


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of": ["cls_member0", "later"]}, "builds on 'later', which is no earlier stage"),
        ({"of": ["cls_member0"]}, "at least 2 items"),
        ({"of": ["cls_member0", "cls_member0"]}, "averages cls_member0 twice"),
        ({"nodes": ["seg"]}, "takes weights of cls_member0, which trains cls; expected seg"),
        ({"epochs": 3}, "cls_soup.epochs: Unexpected keyword argument"),
    ],
)
def test_a_wrong_soup_is_explained(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    taught_plain().save(tmp_path / "recipe.json")
    tree = json.loads((tmp_path / "recipe.json").read_text())
    next(stage for stage in tree["stages"] if stage["name"] == "cls_soup").update(changes)
    (tmp_path / "recipe.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=message):
        load_recipe(tmp_path / "recipe.json")


def test_a_student_learns_from_the_average_alone(cascade: System, image_BHWC: Tensor) -> None:
    joined = with_members(cascade, [weights(cascade, "cls"), weights(cascade, "cls", plus=0.5)])
    loss = SoftLabels(student="logits", teacher="members_logits", temperature=1.5)
    with torch.no_grad():
        tensors = joined(image_BHWC, loss.tensors())
    upright = {"turn": torch.zeros(2, dtype=torch.int64)}
    student = tensors["logits"].clone().requires_grad_()
    loss({**tensors, "logits": student}, upright, None).backward()  # type: ignore[arg-type,no-untyped-call]
    log_p = torch.log_softmax(tensors["logits"] / 1.5, 1)
    log_q = torch.log_softmax(tensors["members_logits"] / 1.5, 1)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, 1.5 * (log_p.exp() - log_q.exp()) / 2)
