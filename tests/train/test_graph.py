"""Graphs of sub-networks: what is refused, what runs, and how large their tensors are."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.systems.graph import Node, run_node, tensor_shapes


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


def called(nodes: tuple[Node, ...]) -> dict[str, int]:
    return {node.name: getattr(node.module, "calls", 0) for node in nodes}


# Wiring --------------------------------------------------------------------------------------


def test_an_input_that_nothing_produces_is_refused(toy_graphs: ModuleType) -> None:
    lost = Node("b", toy_graphs.Weigh(1.0), ("nowhere",), ("b0",))
    with pytest.raises(ValueError, match="b needs 'nowhere', which no node before it produces"):
        toy_graphs.system(toy_graphs.chain(b=lost))


def test_an_input_that_is_produced_only_later_is_refused(toy_graphs: ModuleType) -> None:
    early = Node("b", toy_graphs.Weigh(1.0), ("c0",), ("b0",))
    with pytest.raises(ValueError, match="b needs 'c0', which no node before it produces"):
        toy_graphs.system(toy_graphs.chain(b=early))


@pytest.mark.parametrize("twice", ["a0", IMAGE])
def test_a_tensor_produced_twice_is_refused(toy_graphs: ModuleType, twice: str) -> None:
    again = Node("d", toy_graphs.Weigh(1.0), (IMAGE,), (twice,))
    with pytest.raises(ValueError, match=f"d produces '{twice}', which exists before it"):
        toy_graphs.system(toy_graphs.chain(d=again))


def test_a_result_that_nothing_produces_is_refused(toy_graphs: ModuleType) -> None:
    with pytest.raises(ValueError, match="no node produces the output 'nowhere'"):
        toy_graphs.system(outputs=OutputSpec("b0", "nowhere"))


def test_two_nodes_of_one_name_are_refused(toy_graphs: ModuleType) -> None:
    # One of the two would drop out of the parameters without a word.
    double = Node("a", toy_graphs.Weigh(1.0), (IMAGE,), ("d0",))
    with pytest.raises(ValueError, match="named a"):
        toy_graphs.system(toy_graphs.chain(d=double))


def test_a_module_must_give_as_many_tensors_as_its_node_names(toy_graphs: ModuleType) -> None:
    tensors = {IMAGE: torch.zeros(2, 3, 8, 8)}
    with pytest.raises(ValueError, match="shorter"):
        run_node(Node("a", toy_graphs.Weigh(1.0, outputs=2), (IMAGE,), ("a0", "a1", "a2")), tensors)


# Running -------------------------------------------------------------------------------------


def test_nodes_run_in_order_on_the_normalised_image(
    toy_graphs: ModuleType, image_BHWC: Tensor
) -> None:
    nodes = toy_graphs.chain()
    tensors = toy_graphs.system(nodes)(image_BHWC)
    by_hand = {IMAGE: toy_graphs.system().image_input(image_BHWC)}
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
    toy_graphs: ModuleType, wanted: tuple[str, ...], expected: tuple[str, ...], image_BHWC: Tensor
) -> None:
    nodes = toy_graphs.chain()
    toy = toy_graphs.system(nodes)
    assert tuple(node.name for node in toy.needed(wanted)) == expected
    tensors = toy(image_BHWC, wanted)
    assert {name for name, count in called(nodes).items() if count} == set(expected)
    assert max(called(nodes).values()) == 1
    assert set(wanted) <= set(tensors)


def test_a_side_branch_without_results_does_not_run(
    toy_graphs: ModuleType, image_BHWC: Tensor
) -> None:
    nodes = toy_graphs.chain()
    toy_graphs.system(nodes, OutputSpec("b0"))(image_BHWC)
    assert called(nodes) == {"a": 1, "b": 1, "d": 0, "c": 0}


def test_a_tensor_that_does_not_exist_is_named(toy_graphs: ModuleType) -> None:
    with pytest.raises(UsageError, match="toy has no tensor named nonsense"):
        toy_graphs.system().needed(("a0", "nonsense"))


def test_the_system_owns_every_nodes_weights(toy_graphs: ModuleType) -> None:
    toy = toy_graphs.system()
    assert set(toy.networks) == {"a", "b", "c", "d"}
    assert len(list(toy.parameters())) == 4 * 3  # factors, and the normalisation's two
    assert not [name for name, _ in toy.named_parameters() if not name.startswith("networks.")]


# Shapes --------------------------------------------------------------------------------------


def test_shapes_are_those_of_a_batch_of_one(toy_graphs: ModuleType) -> None:
    shapes = tensor_shapes(toy_graphs.small_ckdnet())
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


def test_measuring_shapes_changes_nothing(toy_graphs: ModuleType) -> None:
    built = toy_graphs.small_ckdnet()
    built.networks["rootseg"].eval()  # as while the classifier trains
    before = {key: value.clone() for key, value in built.state_dict().items()}
    modes = {name: module.training for name, module in built.named_modules()}
    tensor_shapes(built)
    assert {name: module.training for name, module in built.named_modules()} == modes
    for key, value in built.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_the_cascade_is_the_papers(toy_graphs: ModuleType) -> None:
    built = toy_graphs.small_ckdnet()

    def needed(*wanted: str) -> list[str]:
        return [node.name for node in built.needed(wanted)]

    assert needed("coarse_logits") == ["rootseg"]
    assert needed("logits") == ["rootseg", "cls"]
    assert needed("g0") == ["seg_encoder"]
    assert needed("mask_logits") == ["rootseg", "cls", "seg_encoder", "seg_decoder"]
    assert built.outputs == OutputSpec("logits", "mask_logits", "coarse_logits", True)
    assert built.labels == ISIC2017
