"""Graphs of sub-networks: what is refused, what runs, and what fusing nodes leaves unchanged."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.contract.manifest import IMAGE, ResultSpec
from ckd.train.networks.blocks import ClassHead
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.distilled import DistilledCkdNet
from ckd.train.systems.graph import TEACHER, Node, System, run_node, tensor_shapes


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These sums are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Weigh(nn.Module):
    """A weighted mean of its inputs' means, once for each output."""

    def __init__(self, *factors: float, outputs: int = 1) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(factors))
        self.bn = nn.BatchNorm1d(1)
        self.outputs = outputs
        self.calls = 0

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.calls += 1
        means = torch.stack([x.flatten(1).mean(dim=1) for x in given], dim=1)
        made = [self.bn((means @ self.factors)[:, None]) + i for i in range(self.outputs)]
        return made[0] if self.outputs == 1 else tuple(made)


def chain(**nodes: Node) -> tuple[Node, ...]:
    """A small cascade: a -> b -> c, and d beside them, which feeds c."""
    default = (
        Node("a", Weigh(1.0, outputs=2), (IMAGE,), ("a0", "a1")),
        Node("b", Weigh(2.0, 0.5), (IMAGE, "a1"), ("b0",)),
        Node("d", Weigh(3.0), (IMAGE,), ("d0",)),
        Node("c", Weigh(1.5, -1.0), ("b0", "d0"), ("c0",)),
    )
    return tuple(nodes.get(node.name, node) for node in default)


def system(
    nodes: tuple[Node, ...] | None = None,
    results: ResultSpec | None = None,
) -> System:
    return System(
        "toy",
        chain() if nodes is None else nodes,
        ISIC2017,
        ("MEL",),
        8,
        results or ResultSpec("b0", "c0", "a0"),
    ).eval()


@pytest.fixture
def image_BHWC() -> Tensor:
    return torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8)


def called(nodes: tuple[Node, ...]) -> dict[str, int]:
    return {n.name: n.module.calls for n in nodes if isinstance(n.module, Weigh)}


# Wiring --------------------------------------------------------------------------------------


def test_an_input_that_nothing_produces_is_refused() -> None:
    lost = Node("b", Weigh(1.0), ("nowhere",), ("b0",))
    with pytest.raises(ValueError, match="b: nothing produces nowhere"):
        system(chain(b=lost))


def test_an_input_that_is_produced_only_later_is_refused() -> None:
    early = Node("b", Weigh(1.0), ("c0",), ("b0",))
    with pytest.raises(ValueError, match="b: nothing produces c0"):
        system(chain(b=early))


@pytest.mark.parametrize("twice", ["a0", IMAGE])
def test_a_tensor_produced_twice_is_refused(twice: str) -> None:
    again = Node("d", Weigh(1.0), (IMAGE,), (twice,))
    with pytest.raises(ValueError, match=f"d: {twice} is already produced"):
        system(chain(d=again))


def test_a_result_that_nothing_produces_is_refused() -> None:
    with pytest.raises(ValueError, match="no node produces the result nowhere"):
        system(results=ResultSpec("b0", "nowhere"))


def test_two_nodes_of_one_name_are_refused() -> None:
    # One of the two would drop out of the parameters without a word.
    double = Node("a", Weigh(1.0), (IMAGE,), ("d0",))
    with pytest.raises(ValueError, match="named a"):
        system(chain(d=double))


def test_a_module_must_give_as_many_tensors_as_its_node_names() -> None:
    tensors = {IMAGE: torch.zeros(2, 3, 8, 8)}
    with pytest.raises(ValueError, match="shorter"):
        run_node(Node("a", Weigh(1.0, outputs=2), (IMAGE,), ("a0", "a1", "a2")), tensors)


# Running -------------------------------------------------------------------------------------


def test_nodes_run_in_order_on_the_normalised_image(image_BHWC: Tensor) -> None:
    nodes = chain()
    tensors = system(nodes)(image_BHWC)
    by_hand = {IMAGE: system().image_input(image_BHWC)}
    assert by_hand[IMAGE].shape == (3, 3, 8, 8)
    assert torch.equal(tensors[IMAGE], by_hand[IMAGE])
    for node in nodes:
        run_node(node, by_hand)
    assert set(tensors) == {IMAGE, "a0", "a1", "b0", "c0", "d0"}
    for name, expected in by_hand.items():
        assert torch.equal(tensors[name], expected), name


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("a0",), ("a",)),
        (("b0",), ("a", "b")),
        (("d0",), ("d",)),
        (("d0", "a1"), ("a", "d")),
        (("c0",), ("a", "b", "d", "c")),
    ],
)
def test_only_what_is_needed_runs(
    wanted: tuple[str, ...], expected: tuple[str, ...], image_BHWC: Tensor
) -> None:
    nodes = chain()
    toy = system(nodes)
    assert tuple(node.name for node in toy.needed(wanted)) == expected
    tensors = toy(image_BHWC, wanted)
    assert {name for name, count in called(nodes).items() if count} == set(expected)
    assert max(called(nodes).values()) == 1
    assert set(wanted) <= set(tensors)


def test_a_side_branch_without_results_does_not_run(image_BHWC: Tensor) -> None:
    nodes = chain()
    system(nodes, ResultSpec("b0"))(image_BHWC)
    assert called(nodes) == {"a": 1, "b": 1, "d": 0, "c": 0}


def test_a_tensor_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="toy has no tensor named nonsense"):
        system().needed(("a0", "nonsense"))


def test_the_system_owns_every_nodes_weights() -> None:
    toy = system()
    assert set(toy.networks) == {"a", "b", "c", "d"}
    assert len(list(toy.parameters())) == 4 * 3  # factors, and the normalisation's two
    assert not [name for name, _ in toy.named_parameters() if not name.startswith("networks.")]


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
    names: tuple[str, ...], order: tuple[str, ...], vanished: set[str], image_BHWC: Tensor
) -> None:
    toy = system()
    into = "".join(sorted(names))
    fused = toy.merged(names, into)
    assert tuple(node.name for node in fused.nodes) == order
    expected, got = toy(image_BHWC), fused(image_BHWC)
    assert set(expected) - set(got) == vanished
    assert not set(got) - set(expected)
    for name, tensor in got.items():
        assert torch.equal(tensor, expected[name]), name
    assert (fused.labels, fused.tasks, fused.image_size) == (toy.labels, toy.tasks, 8)
    assert fused.results == toy.results


def test_a_fused_node_takes_the_image_once_and_keeps_what_others_need() -> None:
    node = system().merged(("a", "b", "d"), "abd").nodes[0]
    assert node.inputs == (IMAGE,)
    assert node.outputs == ("a0", "b0", "d0")  # a1 passes inside only


def test_a_fused_node_waits_for_what_it_needs(image_BHWC: Tensor) -> None:
    toy = system()
    fused = toy.merged(("a", "d"), "ad")
    # b, between the two, needs a: so the pair must come before it.
    assert [node.name for node in fused.nodes] == ["ad", "b", "c"]
    assert torch.equal(fused(image_BHWC)["c0"], toy(image_BHWC)["c0"])


def test_nodes_that_cannot_be_fused_are_refused() -> None:
    # b lies between a and c: it needs the one and feeds the other.
    with pytest.raises(UsageError):
        system().merged(("a", "c"), "ac")


def test_fusing_an_unknown_node_is_refused() -> None:
    with pytest.raises(UsageError, match="toy has no node named x, y"):
        system().merged(("a", "y", "x"), "all")


def test_fused_nodes_share_their_weights() -> None:
    toy = system()
    fused = toy.merged(("a", "b"), "ab")
    assert {id(p) for p in fused.parameters()} == {id(p) for p in toy.parameters()}


@pytest.mark.parametrize("training", [False, True])
def test_a_fused_system_is_in_the_mode_of_its_origin(training: bool) -> None:
    fused = system().train(training).merged(("a", "b"), "ab")
    assert {module.training for module in fused.modules()} == {training}


# Shapes --------------------------------------------------------------------------------------


SMALL = CkdNet(
    backbone="mobilenet_v2",
    rootseg_width=4,
    rootseg_low_width=4,
    entangle_widths=(4, 5, 6, 7),
    decoder_widths=(8, 7, 6, 5, 4),
)


def small_ckdnet() -> System:
    return SMALL.build(ISIC2017, ("MEL",), 64, None)


def test_shapes_are_those_of_a_batch_of_one() -> None:
    shapes = tensor_shapes(small_ckdnet())
    gates = zip((24, 32, 96, 320), (16, 8, 4, 2), strict=True)
    halves = zip((4, 5, 6, 7), (16, 8, 4, 2), strict=True)
    assert shapes == {
        IMAGE: (1, 3, 64, 64),
        "coarse_logits": (1, 1, 16, 16),
        **{f"gate{i}": (1, c, s, s) for i, (c, s) in enumerate(gates, start=1)},
        "logits": (1, 3),
        **{f"mean{i}": (1, 1, s, s) for i, s in enumerate((16, 8, 4, 2), start=1)},
        "g0": (1, 16, 32, 32),
        **{f"h{i}": (1, c, s, s) for i, (c, s) in enumerate(halves, start=1)},
        "mask_logits": (1, 1, 64, 64),
    }


def test_measuring_shapes_changes_nothing() -> None:
    built = small_ckdnet()
    built.networks["rootseg"].eval()  # as while the classifier trains
    before = {key: value.clone() for key, value in built.state_dict().items()}
    modes = {name: module.training for name, module in built.named_modules()}
    tensor_shapes(built)
    assert {name: module.training for name, module in built.named_modules()} == modes
    for key, value in built.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_the_cascade_is_the_papers() -> None:
    built = small_ckdnet()

    def needed(*wanted: str) -> list[str]:
        return [node.name for node in built.needed(wanted)]

    assert needed("coarse_logits") == ["rootseg"]
    assert needed("logits") == ["rootseg", "cls"]
    assert needed("g0") == ["seg_encoder"]
    assert needed("mask_logits") == ["rootseg", "cls", "seg_encoder", "seg_decoder"]
    assert built.results == ResultSpec("logits", "mask_logits", "coarse_logits", True)
    assert built.labels == ISIC2017


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
def test_ckdnet_answers_the_same_however_it_is_fused(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    built = small_ckdnet().eval()
    for name, parameter in built.named_parameters():
        if name.endswith((".mu", ".delta")):
            nn.init.constant_(parameter, 0.5)
    image_BHWC = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected, got = built(image_BHWC), built.merged(names, "fused").eval()(image_BHWC)
    for name in built.results.names():
        assert torch.equal(got[name], expected[name]), name


# What is deployed ----------------------------------------------------------------------------


def test_teachers_and_tensors_that_nobody_takes_are_not_deployed(image_BHWC: Tensor) -> None:
    taught = (*chain(), Node("teacher", Weigh(2.0), (IMAGE,), ("t0",)))
    whole = system(taught, ResultSpec("b0", "c0"))
    whole.mask_threshold = 0.4
    deployed = whole.deployed()
    outputs = {node.name: node.outputs for node in deployed.nodes}
    assert outputs == {"a": ("a1",), "b": ("b0",), "d": ("d0",), "c": ("c0",)}
    assert deployed.mask_threshold == 0.4
    assert not deployed.training
    expected, got = whole(image_BHWC), deployed(image_BHWC)
    for name in ("b0", "c0"):
        assert torch.equal(got[name], expected[name])


def test_a_system_without_a_class_head_cannot_be_explained() -> None:
    with pytest.raises(UsageError, match="toy has no classifier whose maps"):
        system().explained()


def test_class_maps_add_up_to_the_logits() -> None:
    torch.manual_seed(0)
    size, classes = 64, ("MEL", "NEV")
    plain = CkdNet(backbone="mobilenet_v2", rootseg_width=8).build(classes, (), size, None).eval()
    plain.networks.get_submodule("cls.attention").get_parameter("delta").data.fill_(0.3)
    explained = plain.explained()
    assert plain.results.class_map is None
    images = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        tensors = explained(images)
        assert torch.equal(tensors["logits"], plain(images)["logits"])
    bias = explained.networks.get_submodule("cls.classify.fc").get_parameter("bias")
    map_BKHW = tensors[str(explained.results.class_map)]
    assert map_BKHW.shape == (2, 2, 2, 2)
    # float32 sums of 1280 products in another order
    torch.testing.assert_close(map_BKHW.mean(dim=(2, 3)) + bias, tensors["logits"])
    outputs = explained.nodes[1].outputs
    assert outputs[:2] == ("logits", "class_map")


def test_a_classifier_inside_a_fused_node_is_explained_the_same() -> None:
    torch.manual_seed(0)
    plain = small_ckdnet().eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    whole = plain.merged([node.name for node in plain.nodes], "whole").eval()
    # What only training needs is cut from a node by wrapping it.
    no_mask = plain._with(plain.nodes, ResultSpec("logits")).deployed()
    with torch.no_grad():
        expected = plain.explained()(images)
        for built in (whole, no_mask):
            assert isinstance(built.class_head, ClassHead)
            got = built.explained()(images)
            for name in ("logits", "class_map"):
                assert torch.equal(got[name], expected[name])
            assert built.results.class_map is None
            assert built.class_head.gives_map is False


def test_features_are_what_the_last_layer_takes_and_no_answer() -> None:
    torch.manual_seed(0)
    explained = small_ckdnet().eval().explained(features=True)
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        tensors = explained(images)
    assert "features" not in explained.results.names()
    head = explained.class_head
    assert head is not None
    torch.testing.assert_close(head.fc(tensors["features"]), tensors["logits"])
    assert tensors["features"].shape == (2, sum(head.channels))


def test_a_teacher_whose_features_are_learnt_from_is_explained_like_any_other() -> None:
    system = DistilledCkdNet(teacher=SMALL, student=SMALL).build(ISIC2017, (), 64, None)
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    teacher = system.teacher().eval()
    for built in (teacher, system.deployed().eval()):
        logits = str(built.results.class_logits)
        explained = built.explained(features=True)
        head = explained.class_head
        assert head is not None
        with torch.no_grad():
            tensors = explained(images)
            expected = built(images)
        assert torch.equal(tensors[logits], expected[logits])
        torch.testing.assert_close(head.fc(tensors["features"]), tensors[logits])
        assert tensors["class_map"].shape == (2, 3, 2, 2)
        assert [n.name for n in explained.nodes] == [n.name for n in built.nodes]


# Teachers ------------------------------------------------------------------------------------


def test_a_teacher_is_found_beside_its_student_and_answers_as_alone(image_BHWC: Tensor) -> None:
    alone = system(results=ResultSpec("b0", "c0", "a0"))
    taught = alone.prefixed(TEACHER)
    assert [node.name for node in taught.nodes] == [f"teacher_{node.name}" for node in alone.nodes]
    assert taught.nodes[1].inputs == (IMAGE, "teacher_a1")
    student = chain()
    both = system((*taught.nodes, *student), ResultSpec("b0", "c0"))
    assert [node.name for node in both.deployed().nodes] == ["a", "b", "d", "c"]
    found = both.teacher()
    assert found.results == ResultSpec("teacher_b0", "teacher_c0")
    expected, got = alone(image_BHWC), found(image_BHWC)
    for name in ("b0", "c0"):
        assert torch.equal(got[f"teacher_{name}"], expected[name])
    with pytest.raises(UsageError, match="toy has no teacher in it"):
        alone.teacher()


def test_two_cascades_share_the_image_and_nothing_else() -> None:
    small = CkdNet(backbone="mobilenet_v2", rootseg_width=8, entangle_widths=(4, 4, 4, 4))
    both = DistilledCkdNet(teacher=small, student=small)
    with FakeTensorMode():
        made = both.build(ISIC2017, ("MEL",), 64, None)
    student, teacher = made.deployed(), made.teacher()
    assert [f"teacher_{node.name}" for node in student.nodes] == [n.name for n in teacher.nodes]
    shared = {id(p) for p in student.parameters()} & {id(p) for p in teacher.parameters()}
    assert not shared
    outputs = {name for node in made.nodes for name in node.outputs}
    assert {"features", "teacher_features"} <= outputs
    assert "features" not in {name for node in student.nodes for name in node.outputs}
