"""Classifiers made of torchvision's networks: where they are cut, what they start from."""

import copy
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import nn

from ckd.contract.errors import UsageError
from ckd.train.networks.classifier import Classifier, LastMap
from ckd.train.networks.pretrained import imagenet_network, load_weights

IMAGE = (2, 3, 96, 96)


@pytest.mark.parametrize(
    ("backbone", "channels", "side"),
    [
        ("alexnet", 256, 2),  # adaptive pooling to 6x6 and hidden layers are left out
        ("convnext_tiny", 768, 3),  # so is the normalisation after pooling
        ("densenet121", 1024, 3),  # ends in a function, not a module
        ("efficientnet_b0", 1280, 3),
        ("googlenet", 1024, 3),
        ("inception_v3", 2048, 1),
        ("mnasnet0_5", 1280, 3),
        ("mobilenet_v2", 1280, 3),
        ("mobilenet_v3_small", 576, 3),
        ("resnet18", 512, 3),
        ("shufflenet_v2_x0_5", 1024, 3),
        ("squeezenet1_1", 512, 5),  # whose classifier is a convolution
        ("swin_t", 768, 3),
        ("vgg11", 512, 3),
    ],
)
def test_the_map_is_what_comes_before_the_pooling(backbone: str, channels: int, side: int) -> None:
    with torch.device("meta"):
        logits, map_BChw = Classifier(backbone, 5).eval()(torch.zeros(IMAGE))
    assert logits.shape == (2, 5)
    assert map_BChw.shape == (2, channels, side, side)


@pytest.mark.parametrize(
    ("backbone", "parameters"), [("resnet50", 23_524_424), ("mobilenet_v2", 2_234_120)]
)
def test_parameters_of_the_papers_networks(backbone: str, parameters: int) -> None:
    with torch.device("meta"):
        classifier = Classifier(backbone, 8)
    assert sum(p.numel() for p in classifier.parameters()) == parameters
    assert not [m for m in classifier.modules() if isinstance(m, nn.Dropout) and m.p > 0]


def last_map(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    assert isinstance(network, tv.ResNet)
    x = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    map_BChw: torch.Tensor = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    return map_BChw


def test_it_runs_what_torchvision_runs_in_both_modes() -> None:
    image = torch.rand(IMAGE)
    torch.manual_seed(0)
    network = imagenet_network("resnet18", None)
    torch.manual_seed(0)
    cut = LastMap("resnet18")
    for training in (False, True):
        expected = last_map(network.train(training), image)
        assert torch.equal(cut.train(training)(image), expected)
    statistics = dict(network.named_buffers())
    for name, buffer in cut.features.named_buffers():
        assert torch.equal(buffer, statistics[name])


def test_googles_networks_change_the_normalisation_whatever_they_start_from() -> None:
    image = torch.rand(IMAGE)
    cut = LastMap("googlenet").eval()
    network = imagenet_network("googlenet", None).eval()
    assert isinstance(network, tv.GoogLeNet)
    assert not network.transform_input
    network.load_state_dict(cut.features.state_dict(), strict=False)
    network.transform_input = True
    seen = []
    for first in (network.conv1, cut.features.get_submodule("conv1")):
        first.register_forward_hook(lambda module, given, made: seen.append(made))
    network(image)
    cut(image)
    torch.testing.assert_close(seen[1], seen[0])


def test_a_copy_is_independent() -> None:
    classifier, image = Classifier("resnet18", 3), torch.rand(IMAGE)
    copied = copy.deepcopy(classifier).train()
    assert torch.equal(classifier.eval()(image)[0], copy.deepcopy(classifier)(image)[0])
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    copied(image)  # moves its running statistics
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, before[name])
    moved = [name for name, tensor in copied.state_dict().items() if (tensor != before[name]).any()]
    assert {name.rpartition(".")[2] for name in moved} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_nothing_is_kept_of_an_image() -> None:
    classifier = Classifier("mobilenet_v3_small", 3).eval()
    with torch.no_grad():
        logits, map_BChw = classifier(torch.rand(IMAGE))
    kept = [weakref.ref(tensor) for tensor in (logits, map_BChw)]
    del logits, map_BChw
    assert [tensor() for tensor in kept] == [None, None]


@pytest.mark.parametrize(
    ("backbone", "channels"), [("vit_b_32", 768), ("vit_b_16", 768), ("maxvit_t", 512)]
)
def test_transformers_have_maps_at_the_size_that_they_take(backbone: str, channels: int) -> None:
    side = 14 if backbone == "vit_b_16" else 7
    with torch.device("meta"):
        logits, map_BChw = Classifier(backbone, 5).eval()(torch.zeros(2, 3, 224, 224))
    assert logits.shape == (2, 5)
    assert map_BChw.shape == (2, channels, side, side)


def test_tokens_lie_where_their_patches_do() -> None:
    tokens_BTC = torch.arange(10.0).view(1, 10, 1) * torch.tensor([1.0, -1.0])
    with torch.device("meta"):
        graph = LastMap("vit_b_32").features.graph
    node = next(iter(reversed(graph.find_nodes(op="output")))).args[0]
    assert isinstance(node, torch.fx.Node)
    assert str(node.args[0]) == "encoder"
    assert callable(node.target)
    map_BChw = node.target(tokens_BTC)
    assert map_BChw[0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]  # 0 is the class token
    assert torch.equal(map_BChw[:, 1], -map_BChw[:, 0])


def test_an_unknown_name_names_those_near() -> None:
    with pytest.raises(UsageError, match=r"no classifier 'mobilenetv2'; did you mean mobilenet_v2"):
        LastMap("mobilenetv2")


def test_weights_that_torchvision_has_not_are_no_failure_of_ours() -> None:
    with (
        torch.device("meta"),
        pytest.raises(UsageError, match=r"no ImageNet weights for regnet_y_128gf.*--weights FILE"),
    ):
        imagenet_network("regnet_y_128gf", "imagenet")


@pytest.mark.parametrize(
    ("backbone", "renamed"),
    [
        ("mobilenet_v3_small", lambda name: name),
        # As in torchvision's own files of DenseNets.
        ("densenet121", lambda name: name.replace(".norm1.", ".norm.1.").replace("v2.", "v.2.")),
    ],
)
def test_weights_of_a_file(backbone: str, renamed: Callable[[str], str], tmp_path: Path) -> None:
    state = imagenet_network(backbone, None).state_dict()
    torch.save({renamed(name): tensor for name, tensor in state.items()}, tmp_path / "w.pth")
    features = LastMap(backbone, tmp_path / "w.pth").features.state_dict()
    assert len(features) > 100
    for name, tensor in features.items():
        assert torch.equal(tensor, state[name])


def test_a_folders_file_is_of_the_longest_name_that_fits(tmp_path: Path) -> None:
    state = imagenet_network("mnasnet0_5", None).state_dict()
    torch.save(state, tmp_path / "mnasnet0_5-1.pth")
    for name in ("mnasnet0_50.pth", "resnet18-2.pth", "mnasnet1_0.pth"):
        (tmp_path / name).write_bytes(b"not looked at")
    features = LastMap("mnasnet0_5", tmp_path).features.state_dict()
    assert torch.equal(features["layers.0.weight"], state["layers.0.weight"])


@pytest.mark.parametrize(
    "odd", [[1.0], "text", None, torch.ones(2, 2).to_sparse(), torch.ones(2, 2, device="meta")]
)
def test_a_file_of_anything_else_than_tensors_is_refused(odd: object, tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    sound: dict[Any, Any] = network.state_dict()
    names, path = set(network.state_dict()), tmp_path / "linear.pth"
    for state in ({**sound, "weight": odd}, {**sound, 1: odd}):
        torch.save(state, path)
        with pytest.raises(UsageError, match=r"linear\.pth: not a PyTorch state dict"):
            load_weights(network, "linear", path, names, ["linear"])
