"""Systems made of systems: fusing and cutting leave answers unchanged, explaining adds to them."""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.systems import rewrite
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.distilled import DistilledCkdNet
from ckd.train.systems.graph import Node


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These sums are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def image_BHWC() -> Tensor:
    return torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8)


# Fusing --------------------------------------------------------------------------------------

#: Nodes to fuse, the order that results, and the tensors that vanish. c0, b0 and a0 are results.
FUSIONS = [
    (("a", "b"), ("ab", "d", "c"), {"a1"}),
    (("c", "b"), ("a", "d", "bc"), set()),
    (("d", "c"), ("a", "b", "cd"), {"d0"}),
    (("a", "b", "c", "d"), ("abcd",), {"a1", "d0"}),
    (("b",), ("a", "b", "d", "c"), set()),
]


@pytest.mark.parametrize(("names", "order", "vanished"), FUSIONS)
def test_fusing_nodes_changes_no_tensor_but_those_inside(
    toy_graphs: ModuleType,
    names: tuple[str, ...],
    order: tuple[str, ...],
    vanished: set[str],
    image_BHWC: Tensor,
) -> None:
    toy = toy_graphs.system()
    into = "".join(sorted(names))
    fused = rewrite.merged(toy, names, into)
    assert tuple(node.name for node in fused.nodes) == order
    expected, got = toy(image_BHWC), fused(image_BHWC)
    assert set(expected) - set(got) == vanished
    assert not set(got) - set(expected)
    for name, tensor in got.items():
        assert torch.equal(tensor, expected[name]), name
    assert (fused.labels, fused.tasks, fused.image_size) == (toy.labels, toy.tasks, 8)
    assert fused.outputs == toy.outputs


def test_a_fused_node_takes_the_image_once_and_keeps_what_others_need(
    toy_graphs: ModuleType,
) -> None:
    node = rewrite.merged(toy_graphs.system(), ("a", "b", "d"), "abd").nodes[0]
    assert node.inputs == (IMAGE,)
    assert node.outputs == ("a0", "b0", "d0")  # a1 passes inside only


def test_a_fused_node_waits_for_what_it_needs(toy_graphs: ModuleType, image_BHWC: Tensor) -> None:
    toy = toy_graphs.system()
    fused = rewrite.merged(toy, ("a", "d"), "ad")
    # b, between the two, needs a: so the pair must come before it.
    assert [node.name for node in fused.nodes] == ["ad", "b", "c"]
    assert torch.equal(fused(image_BHWC)["c0"], toy(image_BHWC)["c0"])


def test_nodes_that_cannot_be_fused_are_refused(toy_graphs: ModuleType) -> None:
    # b lies between a and c: it needs the one and feeds the other.
    with pytest.raises(UsageError):
        rewrite.merged(toy_graphs.system(), ("a", "c"), "ac")


def test_fusing_an_unknown_node_is_refused(toy_graphs: ModuleType) -> None:
    with pytest.raises(UsageError, match="toy has no node named x, y"):
        rewrite.merged(toy_graphs.system(), ("a", "y", "x"), "all")


def test_fused_nodes_share_their_weights(toy_graphs: ModuleType) -> None:
    toy = toy_graphs.system()
    fused = rewrite.merged(toy, ("a", "b"), "ab")
    assert {id(p) for p in fused.parameters()} == {id(p) for p in toy.parameters()}


@pytest.mark.parametrize("training", [False, True])
def test_a_fused_system_is_in_the_mode_of_its_origin(
    toy_graphs: ModuleType, training: bool
) -> None:
    fused = rewrite.merged(toy_graphs.system().train(training), ("a", "b"), "ab")
    assert {module.training for module in fused.modules()} == {training}


@pytest.mark.parametrize(
    "names",
    [
        ("rootseg", "cls"),
        ("seg_encoder", "seg_decoder"),
        ("rootseg", "cls", "seg_encoder"),
        ("rootseg", "seg_encoder"),
        ("rootseg", "cls", "seg_encoder", "seg_decoder"),
    ],
)
def test_ckdnet_answers_the_same_however_it_is_fused(
    toy_graphs: ModuleType, names: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    built = toy_graphs.small_ckdnet().eval()
    for name, parameter in built.named_parameters():
        if name.endswith((".mu", ".delta")):
            nn.init.constant_(parameter, 0.5)
    image_BHWC = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected, got = built(image_BHWC), rewrite.merged(built, names, "fused").eval()(image_BHWC)
    for name in built.outputs.names():
        assert torch.equal(got[name], expected[name]), name


# What is deployed ----------------------------------------------------------------------------


def test_teachers_and_tensors_that_nobody_takes_are_not_deployed(
    toy_graphs: ModuleType, image_BHWC: Tensor
) -> None:
    taught = (*toy_graphs.chain(), Node("teacher", toy_graphs.Weigh(2.0), (IMAGE,), ("t0",)))
    whole = toy_graphs.system(taught, OutputSpec("b0", "c0"))
    whole.mask_threshold = 0.4
    deployed = rewrite.deployed(whole)
    outputs = {node.name: node.outputs for node in deployed.nodes}
    assert outputs == {"a": ("a1",), "b": ("b0",), "d": ("d0",), "c": ("c0",)}
    assert deployed.mask_threshold == 0.4
    assert not deployed.training
    expected, got = whole(image_BHWC), deployed(image_BHWC)
    for name in ("b0", "c0"):
        assert torch.equal(got[name], expected[name])


def test_a_system_without_a_class_head_cannot_be_explained(toy_graphs: ModuleType) -> None:
    with pytest.raises(UsageError, match="toy has no classifier whose maps"):
        rewrite.explained(toy_graphs.system())


def test_class_maps_add_up_to_the_logits() -> None:
    torch.manual_seed(0)
    size, classes = 64, ("MEL", "NEV")
    plain = CkdNet(backbone="mobilenet_v2", rootseg_width=8).build(classes, (), size, None).eval()
    plain.networks.get_submodule("cls.attention").get_parameter("delta").data.fill_(0.3)
    explained = rewrite.explained(plain)
    assert plain.outputs.class_map is None
    images = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        tensors = explained(images)
        assert torch.equal(tensors["logits"], plain(images)["logits"])
    bias = explained.networks.get_submodule("cls.classify.fc").get_parameter("bias")
    map_BKHW = tensors[str(explained.outputs.class_map)]
    assert map_BKHW.shape == (2, 2, 2, 2)
    # float32 sums of 1280 products in another order
    torch.testing.assert_close(map_BKHW.mean(dim=(2, 3)) + bias, tensors["logits"])
    outputs = explained.nodes[1].outputs
    assert outputs[:2] == ("logits", "class_map")


def test_a_classifier_inside_a_fused_node_is_explained_the_same(toy_graphs: ModuleType) -> None:
    torch.manual_seed(0)
    plain = toy_graphs.small_ckdnet().eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    whole = rewrite.merged(plain, [node.name for node in plain.nodes], "whole").eval()
    # What only training needs is cut from a node by wrapping it.
    no_mask = rewrite.deployed(plain.with_nodes(plain.nodes, OutputSpec("logits")))
    with torch.no_grad():
        expected = rewrite.explained(plain)(images)
        for built in (whole, no_mask):
            got = rewrite.explained(built)(images)
            for name in ("logits", "class_map"):
                assert torch.equal(got[name], expected[name])
            assert built.outputs.class_map is None
            head = rewrite.class_head(built)
            assert head is not None
            assert head.gives_map is False


def test_deployed_features_are_what_the_last_layer_takes_and_change_no_answer(
    toy_graphs: ModuleType,
) -> None:
    torch.manual_seed(0)
    plain = toy_graphs.small_ckdnet().eval()
    deployed = rewrite.deployed(plain)
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected, tensors = plain(images), deployed(images)
    assert plain.outputs.features is None
    assert "features" not in expected
    assert deployed.outputs == replace(plain.outputs, features="features")
    head = rewrite.class_head(deployed)
    assert head is not None
    torch.testing.assert_close(head.fc(tensors["features"]), tensors["logits"])
    assert tensors["features"].shape == (2, sum(head.channels))
    for name in plain.outputs.names():
        assert torch.equal(tensors[name], expected[name]), name
    # Weights that are loaded later are those of both; runs are loaded so.
    assert deployed.digest() == plain.digest()
    with torch.no_grad():
        plain.load_state_dict({name: t + 1 for name, t in plain.state_dict().items()})
    assert deployed.digest() == plain.digest()


@pytest.mark.parametrize("order", [("merged", "deployed"), ("deployed", "merged", "deployed")])
def test_a_fused_classifier_gives_its_features_too(
    toy_graphs: ModuleType, order: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    plain = toy_graphs.small_ckdnet().eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    built = plain
    for step in order:
        merging = step == "merged"
        names = [node.name for node in built.nodes]
        built = rewrite.merged(built, names, "whole") if merging else rewrite.deployed(built)
    assert [node.name for node in built.nodes] == ["whole"]
    with torch.no_grad():
        got, expected = built.eval()(images), rewrite.deployed(plain)(images)
    assert torch.equal(got["features"], expected["features"])


def test_a_system_without_a_class_head_is_deployed_without_features(
    toy_graphs: ModuleType,
) -> None:
    assert rewrite.deployed(toy_graphs.system()).outputs.features is None


# Teachers ------------------------------------------------------------------------------------


def test_a_teacher_is_found_beside_its_student_and_answers_as_alone(
    toy_graphs: ModuleType, image_BHWC: Tensor
) -> None:
    alone = toy_graphs.system(outputs=OutputSpec("b0", "c0", "a0"))
    taught = rewrite.prefixed(alone, rewrite.TEACHER)
    assert [node.name for node in taught.nodes] == [f"teacher_{node.name}" for node in alone.nodes]
    assert taught.nodes[1].inputs == (IMAGE, "teacher_a1")
    student = toy_graphs.chain()
    both = toy_graphs.system((*taught.nodes, *student), OutputSpec("b0", "c0"))
    assert [node.name for node in rewrite.deployed(both).nodes] == ["a", "b", "d", "c"]
    teacher = rewrite.teacher(both)
    assert teacher.outputs == OutputSpec("teacher_b0", "teacher_c0")
    expected, got = alone(image_BHWC), teacher(image_BHWC)
    for name in ("b0", "c0"):
        assert torch.equal(got[f"teacher_{name}"], expected[name])
    with pytest.raises(UsageError, match="toy has no teacher in it"):
        rewrite.teacher(alone)


def test_two_cascades_share_the_image_and_nothing_else() -> None:
    small = CkdNet(backbone="mobilenet_v2", rootseg_width=8, entangle_widths=(4, 4, 4, 4))
    both = DistilledCkdNet(teacher=small, student=small)
    with FakeTensorMode():
        made = both.build(ISIC2017, ("MEL",), 64, None)
    student, teacher = rewrite.deployed(made), rewrite.teacher(made)
    assert [f"teacher_{node.name}" for node in student.nodes] == [n.name for n in teacher.nodes]
    shared = {id(p) for p in student.parameters()} & {id(p) for p in teacher.parameters()}
    assert not shared
    outputs = {name for node in made.nodes for name in node.outputs}
    assert {"features", "teacher_features"} <= outputs
    # Of the student's its own are deployed, and what is called the teacher's here is not.
    deployed_names = {name for node in student.nodes for name in node.outputs}
    assert "features" in deployed_names
    assert "teacher_features" not in deployed_names
    assert student.outputs.features == teacher.outputs.features == "features"


def test_both_cascades_can_be_explained() -> None:
    # Their heads give features already, the teacher's under a name with a prefix.
    small = CkdNet(backbone="mobilenet_v2", rootseg_width=8, entangle_widths=(4, 4, 4, 4))
    made = DistilledCkdNet(teacher=small, student=small).build(ISIC2017, ("MEL",), 64, None).eval()
    images = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    for built in (rewrite.deployed(made), rewrite.teacher(made)):
        logits = str(built.outputs.class_logits)
        # Twice is as good as once.
        explained = rewrite.explained(rewrite.explained(built))
        with torch.no_grad():
            expected, tensors = built(images), explained(images)
        assert torch.equal(tensors[logits], expected[logits])
        assert tensors["class_map"].shape == (1, 3, 2, 2)
        assert torch.equal(tensors["features"], expected["features"])
        head = rewrite.class_head(explained)
        assert head is not None
        torch.testing.assert_close(head.fc(tensors["features"]), tensors[logits])
