"""The multi-task net and its GoogLeNet: sizes, torchvision's own features, what the files hold.

Suffixes: B batch, C channels, H rows, W columns, K labels.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.labels import ISIC2017, ISIC2018
from ckd.export.onnx import export_onnx
from ckd.train.folds import count_macs, folded
from ckd.train.networks.encoder import add_input_channel, build_encoder
from ckd.train.networks.image_input import HalfMeanInput
from ckd.train.networks.multitask import DecoderBlock
from ckd.train.recipes.multitask import multitask
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System
from ckd.train.systems.multitask import MultiTask

if TYPE_CHECKING:
    from tests.train.networks.conftest import Publish

TASKS = ("MEL", "SBK")


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def calibrated(module: nn.Module, side_px: int) -> nn.Module:
    """With the statistics of noise, so that activations neither vanish nor explode."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn(4, 3, side_px, side_px))
    return module.eval()


def small(side_px: int) -> System:
    """A real GoogLeNet under a narrow decoder."""
    system = MultiTask(decoder_widths=(8, 8, 8, 8, 4)).build(ISIC2017, TASKS, side_px, None)
    calibrated(system.networks["net"], side_px)
    return system.eval()


# The whole network ---------------------------------------------------------------------------


def test_the_network_has_the_size_and_cost_of_the_design() -> None:
    mode = FakeTensorMode()
    with mode:
        system = multitask().system.build(ISIC2017, TASKS, 224, None)
        net = system.networks["net"]
        assert num_parameters(system) == 11_739_507
        assert num_parameters(net.get_submodule("encoder")) == 5_599_904
        assert num_parameters(net.get_submodule("classify")) == 2 * (1024 + 1)
        assert count_macs(system) == 4_850_716_672
        sides = []
        for block in net.get_submodule("decode").children():
            block.register_forward_hook(lambda _, __, made: sides.append(tuple(made.shape[1:])))
        tensors = system(torch.zeros(2, 224, 224, 3, dtype=torch.uint8))
    assert sides == [(256, 14, 14), (128, 28, 28), (64, 56, 56), (32, 112, 112), (16, 224, 224)]
    assert tensors["logits"].shape == (2, 2)
    assert tensors["mask_logits"].shape == (2, 1, 224, 224)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(ISIC2017, ("MEL", "SBK")), (("NEV", "SBK", "MEL"), TASKS), (ISIC2018, ISIC2018)],
)
def test_it_asks_for_the_headline_labels(
    labels: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    with FakeTensorMode():
        system = MultiTask().build(labels, TASKS, 64, None)
    assert system.labels == expected
    assert not system.outputs.exclusive
    assert [node.name for node in system.nodes] == ["net"]


def test_one_label_does_not_hear_the_other() -> None:
    system = small(64)
    fc = system.networks["net"].get_submodule("classify.fc")
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        before = system(image)["logits"]
        fc.get_parameter("weight")[1].zero_()
        after = system(image)["logits"]
    assert after[0, 0] == before[0, 0]
    assert after[0, 1] != before[0, 1]


def test_a_decoder_block_joins_the_enlarged_map_before_the_skip() -> None:
    block = DecoderBlock(3, 2, 4).eval()
    below, skip = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 8, 8)
    joined = torch.cat([below.repeat_interleave(2, 2).repeat_interleave(2, 3), skip], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(block(below, skip), block.convs(joined))


def test_its_class_maps_mean_to_its_logits() -> None:
    explained = rewrite.explained(small(64))
    image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        tensors = explained(image)
    bias_K = explained.networks["net"].get_submodule("classify.fc").get_parameter("bias")
    means_BK = tensors["class_map"].mean(dim=(2, 3)) + bias_K
    torch.testing.assert_close(means_BK, tensors["logits"], rtol=1e-4, atol=1e-5)


def test_the_recipe_trains_all_of_it_on_both_truths() -> None:
    (stage,) = multitask().trained
    assert stage.nodes == ("net",)
    assert stage.needs == {"mask", "label"}
    assert (stage.lr, stage.encoder_lr, stage.epochs, stage.batch_size) == (1e-4, 1e-4, 100, 32)
    assert [loss.weight for loss in stage.losses] == [1.0, 1.0]


# GoogLeNet -----------------------------------------------------------------------------------


def own_features(network: tv.GoogLeNet, image_BCHW: Tensor) -> list[Tensor]:
    """What torchvision's own forward pass computes at the five taps."""
    taps = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")
    maps: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, made, name=name: maps.update({name: made})
        )
        for name in taps
    ]
    with torch.no_grad():
        network.eval()(image_BCHW)
    for handle in handles:
        handle.remove()
    return [maps[name] for name in taps]


@pytest.fixture(scope="module")
def pretrained() -> tv.GoogLeNet:
    """As torchvision builds it with ImageNet weights: with its own change of the input."""
    network = tv.googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=True)
    calibrated(network, 96)
    return network


@pytest.mark.parametrize("side_px", [224, 96])
@pytest.mark.parametrize("source", ["file", "imagenet"])
def test_maps_are_those_of_torchvisions_own_forward_pass(
    pretrained: tv.GoogLeNet,
    side_px: int,
    source: str,
    tmp_path: Path,
    published_weights: "Publish",
) -> None:
    state = pretrained.state_dict()
    published_weights(state)
    torch.save(state, tmp_path / "googlenet-1378be20.pth")  # its auxiliary heads are left out
    encoder = build_encoder("googlenet", "imagenet" if source == "imagenet" else tmp_path).eval()
    assert num_parameters(encoder) == 5_599_904
    image_BCHW = torch.randn(1, 3, side_px, side_px, dtype=torch.float64)
    expected = own_features(copy.deepcopy(pretrained).double(), image_BCHW)
    with torch.no_grad():
        got = encoder.double()(image_BCHW)
    for x, own, channels in zip(got, expected, encoder.channels, strict=True):
        assert x.shape[1] == channels
        # In doubles, but for the input's scale and shift, which are constants of float32.
        torch.testing.assert_close(x, own, rtol=1e-4, atol=1e-4)


def test_a_trained_network_loads_into_one_built_without_weights(
    pretrained: tv.GoogLeNet, tmp_path: Path
) -> None:
    torch.save(pretrained.state_dict(), tmp_path / "w.pth")
    trained, empty = build_encoder("googlenet", tmp_path / "w.pth"), build_encoder("googlenet")
    empty.load_state_dict(trained.state_dict())
    image_BCHW = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(empty.eval()(image_BCHW)[4], trained.eval()(image_BCHW)[4])


def test_the_input_is_normalised_as_googlenet_was_trained() -> None:
    pixels_BCHW = torch.rand(1, 3, 4, 4)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    got = HalfMeanInput()((pixels_BCHW - mean) / std)
    torch.testing.assert_close(got, 2.0 * pixels_BCHW - 1.0, rtol=0, atol=1e-6)


def test_a_fourth_channel_passes_the_change_of_the_input() -> None:
    encoder = build_encoder("googlenet")
    add_input_channel(encoder, fresh_bn=False)
    x_BCHW = torch.randn(1, 4, 8, 8)
    changed = encoder.stem[0](x_BCHW)
    assert torch.equal(changed[:, 3], x_BCHW[:, 3])
    assert torch.equal(changed[:, :3], HalfMeanInput()(x_BCHW[:, :3]))
    assert encoder.stem(x_BCHW).shape == (1, 64, 4, 4)


def test_folding_leaves_googlenet_no_batch_normalisation() -> None:
    system = small(64)
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    smaller = folded(system)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in smaller.modules())
    with torch.no_grad():
        for name in ("logits", "mask_logits"):
            got, expected = smaller(image)[name], system(image)[name]
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("side_px", [224, 96])
def test_ceil_mode_pooling_survives_the_export(side_px: int, tmp_path: Path) -> None:
    system = small(side_px)
    export_onnx(system.nodes[0], system, tmp_path / "net.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), options)
    image = torch.randint(0, 256, (1, side_px, side_px, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = system(image)
    for output, got in zip(
        session.get_outputs(), session.run(None, {"image": image.numpy()}), strict=True
    ):
        # float32 on both sides through fifty layers: sums run in another order.
        np.testing.assert_allclose(got, expected[output.name], rtol=1e-3, atol=1e-4)
