"""Every fold answers as what it stands for, stays away where it would not, and saves work."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn

from ckd.contract.labels import ISIC2017
from ckd.export.parity import parity_images
from ckd.train.folds import count_macs, folded
from ckd.train.folds.aspp import FoldedAspp, fold_aspp
from ckd.train.folds.attention import PooledAttention, fold_channel_attention
from ckd.train.folds.batch_norm import fold_batch_norms
from ckd.train.folds.decoder import (
    FoldedJoinedScSE,
    PhaseConv,
    fold_decoder,
    fold_knowledge,
)
from ckd.train.networks.blocks import ScSE
from ckd.train.networks.cls import Cls
from ckd.train.networks.encoder import build_encoder
from ckd.train.networks.rootseg import RootSeg
from ckd.train.networks.seg import SegDecoder, SegEncoder
from ckd.train.recipes.ckdnet import ckdnet_mobile, ckdnet_r101
from ckd.train.systems import rewrite
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.clnet import ClNet
from ckd.train.systems.graph import System

Module = TypeVar("Module", bound=nn.Module)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def lived_in(module: Module, seed: int = 0) -> Module:
    """In evaluation mode, with the statistics, scales and gates that training would leave."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        drawn: Tensor = torch.rand(like.shape, generator=generator)
        return low + (high - low) * drawn

    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean = uniform(part.running_mean, -0.5, 0.5)
            part.running_var = uniform(part.running_var, 0.5, 2.0)
            part.weight.copy_(uniform(part.weight, 0.5, 1.5))
            part.bias.copy_(uniform(part.bias, -0.3, 0.3))
    for name, parameter in module.named_parameters():
        if name.endswith(("delta", "mu")):
            parameter.fill_(0.4)
    return module.eval()


def assert_close(got: Tensor, expected: Tensor) -> None:
    """Equal but for the order of float32 sums, which depth amplifies."""
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def system(backbone: Any = "resnet18", **changes: Any) -> System:
    shape = CkdNet(
        backbone=backbone, rootseg_width=8, rootseg_low_width=4,
        entangle_widths=(8, 8, 16, 16), decoder_widths=(16, 16, 8, 32, 8), **changes,
    )  # fmt: skip
    torch.manual_seed(0)
    made = shape.build(ISIC2017, ("MEL", "SBK"), 64, None)
    lived_in(made)
    return made


@pytest.mark.parametrize(
    ("backbone", "changes"),
    [("resnet18", {}), ("resnet18", {"scse": "single"}), ("mobilenet_v2", {})],
)
def test_a_folded_system_answers_as_before(backbone: str, changes: dict[str, Any]) -> None:
    whole = system(backbone, **changes)
    image = torch.from_numpy(parity_images(64, 2))
    small = folded(whole)
    before, after = whole(image), small(image)
    assert before.keys() == after.keys()
    for name in before.keys() - {"h1", "h2", "h3", "h4"}:
        assert_close(after[name], before[name])
    assert count_macs(small) < count_macs(whole)


def test_the_system_itself_is_left_alone() -> None:
    whole = system()
    state = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    folded(whole)
    assert state.keys() == whole.state_dict().keys()
    assert all(torch.equal(state[name], t) for name, t in whole.state_dict().items())


@pytest.mark.parametrize("deep_px", [2, 6, 7, 12, 13, 20])
def test_branches_lose_the_taps_that_only_see_padding(deep_px: int) -> None:
    net = lived_in(RootSeg(build_encoder("resnet18"), 8, 4))
    x4 = torch.randn(1, 512, deep_px, deep_px)
    expected = net.project(torch.cat([branch(x4) for branch in net.aspp], dim=1))
    fold_aspp(net, deep_px)
    (only,) = net.aspp
    assert_close(net.project(only(x4)), expected)
    assert isinstance(only, FoldedAspp)
    remaining = [conv.dilation[0] for conv in only.atrous if isinstance(conv, nn.Conv2d)]
    assert remaining == [rate for rate in (6, 12, 18) if rate < deep_px]


def test_a_fold_of_dilation_is_wrong_on_a_larger_map() -> None:
    """The guard is needed: at 8x8 a rate of 6 still reaches other pixels."""
    net = lived_in(RootSeg(build_encoder("resnet18"), 8, 4))
    x4 = torch.randn(1, 512, 8, 8)
    expected = net.project(torch.cat([branch(x4) for branch in net.aspp], dim=1))
    fold_aspp(net, deep_px=6)
    assert float((net.aspp[0](x4) - expected).abs().max()) > 1e-2


def test_attention_is_pooled_before_it_is_applied() -> None:
    net = lived_in(Cls(build_encoder("resnet18"), 3))
    a = torch.rand(2, 512, 7, 7)
    expected = net.attention(a).mean(dim=(2, 3), keepdim=True)
    fold_channel_attention(net)
    assert isinstance(net.attention, PooledAttention)
    assert_close(net.attention(a), expected)


def test_attention_that_learned_nothing_is_dropped() -> None:
    net = Cls(build_encoder("resnet18"), 3)  # delta starts at 0
    fold_channel_attention(net)
    assert isinstance(net.attention, nn.Identity)


def test_attention_before_a_nonlinear_head_stays() -> None:
    net = lived_in(Cls(build_encoder("mobilenet_v2", head=True), 3))
    attention = net.attention
    fold_channel_attention(net)
    assert net.attention is attention


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_the_gate_of_an_enlarged_map_is_computed_before_enlarging(spatial: str) -> None:
    scse = ScSE(12, spatial, reduction=4).eval()  # type: ignore[arg-type]
    below, skip = torch.randn(2, 8, 5, 5), torch.randn(2, 4, 10, 10)
    enlarged = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = scse(torch.cat([enlarged, skip], dim=1))
    assert_close(FoldedJoinedScSE(scse, 8)(below, skip), expected)


def test_a_convolution_of_an_enlarged_map_is_four_small_ones() -> None:
    conv = nn.Conv2d(6, 5, 3, padding=1)
    x = torch.randn(2, 6, 4, 7)
    expected = conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert_close(PhaseConv(conv)(x), expected)


def test_normalisation_moves_through_the_cut() -> None:
    encoder = SegEncoder(build_encoder("resnet18"), (8, 8, 16, 16))
    decoder = SegDecoder(encoder, (64, 128, 256, 512), (16, 16, 8, 32, 8))
    lived_in(encoder)
    lived_in(decoder, seed=1)
    image = torch.randn(1, 3, 64, 64)
    means = [torch.rand(1, 1, 16 >> level, 16 >> level) for level in range(4)]
    expected = decoder(*encoder(image), *means)
    small_encoder, small_decoder = copy.deepcopy(encoder), copy.deepcopy(decoder)
    fold_knowledge(small_encoder, small_decoder)
    fold_decoder(small_decoder)
    assert_close(small_decoder(*small_encoder(image), *means), expected)
    # Halves of one form with a decoder of the other would go unnoticed if the fold did nothing.
    assert float((small_decoder(*encoder(image), *means) - expected).abs().max()) > 1e-2


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18", "resnet50", "vgg16_bn", "mobilenet_v2", "inception_v3",
        "tf_efficientnet_lite0", "efficientnet_es", "mobilenetv3_large_100",
        "mobilenetv4_conv_small", "regnety_004", "resnet18d",
    ],
)  # fmt: skip
def test_no_encoder_keeps_a_batch_normalisation(backbone: Any) -> None:
    encoder = lived_in(build_encoder(backbone))
    image = torch.randn(1, 3, 96, 96)
    expected = encoder(image)
    fold_batch_norms(encoder)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    for got, wanted in zip(encoder(image), expected, strict=True):
        assert_close(got, wanted)


@pytest.mark.parametrize("merge", [(), ("cls_encoder", "seg_encoder", "fusion")])
def test_clnet_keeps_no_batch_normalisation(merge: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    shape = ClNet(cls_backbone="resnet18", seg_backbone="unet", widths=(4, 6, 8, 10, 12))
    whole = lived_in(shape.build(ISIC2017, ("MEL", "SBK"), 64, None))
    if merge:
        whole = rewrite.merged(whole, merge, "clnet")
    small = folded(whole)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in small.modules())
    image = torch.from_numpy(parity_images(64, 2))
    before, after = whole(image), small(image)
    for name in whole.outputs.names():
        assert_close(after[name], before[name])
    if not merge:  # its halves are scaled, one of them shifted: another meaning
        assert float((after["c4"] - before["c4"]).abs().max()) > 1e-2


@pytest.mark.system
def test_the_published_cascade_costs_what_models_md_says() -> None:
    recipe = ckdnet_r101()
    whole = recipe.system.build(ISIC2017, recipe.tasks, 224, None)
    lived_in(whole)
    before, after = count_macs(whole), count_macs(folded(whole))
    assert before == pytest.approx(69.996e9, rel=2e-3)
    assert after == pytest.approx(65.325e9, rel=2e-3)


def test_the_mobile_cascade_costs_less() -> None:
    recipe = ckdnet_mobile()
    whole = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
    assert count_macs(folded(whole)) < count_macs(whole)
