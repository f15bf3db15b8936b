"""The sub-networks: the published sizes and shapes, and the algebra that export relies on.

Suffixes: B batch, C channels, H rows, W columns, T = H*W.
"""

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.contract.labels import ISIC2017, ISIC2018
from ckd.train.networks.blocks import ChannelAttention, ClassHead, ConvBnRelu, ScSE
from ckd.train.networks.cls import Cls
from ckd.train.networks.encoder import Backbone, Encoder, add_input_channel, build_encoder
from ckd.train.networks.image_input import ImageInput
from ckd.train.networks.rootseg import ASPP_RATES, PooledBranch, RootSeg
from ckd.train.networks.seg import AttentionBlock, EntangleKnowledge, SegDecoder, SegEncoder
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import System


def assert_close(got: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """By default for float32 on both sides and values of order one, summed in another order."""
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def randomised(module: Any) -> Any:
    """The module in evaluation mode with batch normalisations and scalars that do something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
    for name, parameter in module.named_parameters():
        if name.split(".")[-1] in ("mu", "delta"):
            nn.init.constant_(parameter, 0.3)
    return module.eval()


@contextmanager
def watched(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """First input and output of each call of a module."""
    calls: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda _, given, made: calls.append((given[0], made)))
    try:
        yield calls
    finally:
        handle.remove()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These sums are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# The published network, in shapes alone ------------------------------------------------------

Published = tuple[FakeTensorMode, System]

#: Output of each part at 224 px, without the batch axis.
SHAPES: dict[str, tuple[int, ...]] = {
    **{f"{net}.encoder.stem": (64, 112, 112) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.0": (256, 56, 56) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.1": (512, 28, 28) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.2": (1024, 14, 14) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.3": (2048, 7, 7) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"rootseg.aspp.{branch}": (256, 7, 7) for branch in range(5)},
    "rootseg.project": (256, 7, 7),
    "rootseg.low": (48, 56, 56),
    "rootseg.decode.0": (256, 56, 56),
    "rootseg.decode.1": (256, 56, 56),
    "rootseg.decode": (1, 56, 56),
    "cls.attention": (2048, 7, 7),
    "cls.classify.fc": (3,),
    "seg_encoder.entangle.0": (256, 56, 56),
    "seg_encoder.entangle.1": (512, 28, 28),
    "seg_encoder.entangle.2": (1024, 14, 14),
    "seg_encoder.entangle.3": (2048, 7, 7),
    "seg_decoder.knowledge.0": (256, 56, 56),
    "seg_decoder.knowledge.1": (512, 28, 28),
    "seg_decoder.knowledge.2": (1024, 14, 14),
    "seg_decoder.knowledge.3": (2048, 7, 7),
    "seg_decoder.blocks.0": (1024, 14, 14),
    "seg_decoder.blocks.1": (512, 28, 28),
    "seg_decoder.blocks.2": (256, 56, 56),
    "seg_decoder.blocks.3": (64, 112, 112),
    "seg_decoder.blocks.4": (32, 224, 224),
    "seg_decoder.out": (1, 224, 224),
}

PARAMETERS = {
    "rootseg": 59_339_169,
    "rootseg.encoder": 42_500_160,
    "rootseg.encoder.stem": 9_408 + 128,
    "rootseg.encoder.stages.0": 215_808,
    "rootseg.encoder.stages.1": 1_219_584,
    "rootseg.encoder.stages.2": 26_090_496,
    "rootseg.encoder.stages.3": 14_964_736,
    "rootseg.aspp.0": 524_800,
    "rootseg.aspp.1": 4_719_104,
    "rootseg.aspp.2": 4_719_104,
    "rootseg.aspp.3": 4_719_104,
    "rootseg.aspp.4": 524_288 + 512,
    "rootseg.project": 328_192,
    "rootseg.low": 12_384,
    "rootseg.decode.0": 700_928,
    "rootseg.decode.1": 590_336,
    "rootseg.decode.3": 257,
    "cls": 42_509_444,
    "cls.encoder.stem.0": 12_544,
    "cls.attention": 1,
    "cls.classify.fc": 6_147,
    "seg_encoder.encoder": 42_500_160,
    "seg_decoder.blocks.0": 49_557_760,
    "seg_decoder.blocks.1": 12_392_576,
    "seg_decoder.blocks.2": 3_099_712,
    "seg_decoder.blocks.3": 342_040,
    "seg_decoder.blocks.4": 28_994,
    "seg_decoder.out": 33,
}


@pytest.fixture(scope="module")
def published() -> Published:
    """CKDNet as published, of tensors that have shapes and no values."""
    mode = FakeTensorMode()
    with mode:
        return mode, CkdNet().build(ISIC2017, ("MEL", "SBK"), 224, None).eval()


@pytest.mark.parametrize(("part", "expected"), PARAMETERS.items())
def test_parameters_are_those_published(published: Published, part: str, expected: int) -> None:
    assert num_parameters(published[1].networks.get_submodule(part)) == expected


def test_ckd_seg_has_the_live_parameters_of_the_published_one(published: Published) -> None:
    networks = published[1].networks
    assert sum(num_parameters(networks[n]) for n in ("seg_encoder", "seg_decoder")) == 158_102_399
    entangled = [
        num_parameters(networks.get_submodule(f"seg_encoder.entangle.{level}"))
        + num_parameters(networks.get_submodule(f"seg_decoder.knowledge.{level}"))
        for level in range(4)
    ]
    # Joined convolution with its bias, batch normalisation, and mu.
    assert entangled == [592_896 + 1, 2_365_440 + 1, 9_449_472 + 1, 37_773_312 + 1]


def test_seven_classes_widen_the_last_layer_alone() -> None:
    with FakeTensorMode():
        cls = Cls(build_encoder("resnet101"), len(ISIC2018))
    assert num_parameters(cls) == 42_517_640
    assert num_parameters(cls.classify.fc) == 14_343


def test_every_part_has_its_published_shape_at_224(published: Published) -> None:
    mode, system = published
    found: dict[str, tuple[int, ...]] = {}
    handles = [
        system.networks.get_submodule(part).register_forward_hook(
            lambda _, __, made, part=part: found.update({part: tuple(made.shape)})
        )
        for part in SHAPES
    ]
    with mode, torch.no_grad():
        tensors = system(torch.zeros(2, 224, 224, 3, dtype=torch.uint8))
    for handle in handles:
        handle.remove()

    assert found == {part: (2, *shape) for part, shape in SHAPES.items()}
    widths, sides = (256, 512, 1024, 2048), (56, 28, 14, 7)
    for level, (width, side) in enumerate(zip(widths, sides, strict=True), start=1):
        assert tensors[f"gate{level}"].shape == (2, width, side, side)
        assert tensors[f"mean{level}"].shape == (2, 1, side, side)
        assert tensors[f"h{level}"].shape == (2, width, side, side)
    assert tensors["g0"].shape == (2, 64, 112, 112)
    assert tensors["coarse_logits"].shape == (2, 1, 56, 56)
    assert tensors["logits"].shape == (2, 3)
    assert tensors["mask_logits"].shape == (2, 1, 224, 224)


def test_dropout_is_that_of_the_code(published: Published) -> None:
    networks = published[1].networks

    def rates(name: str) -> list[float]:
        return [m.p for m in networks[name].modules() if isinstance(m, nn.Dropout2d)]

    assert rates("rootseg") == [0.5, 0.5]
    assert rates("seg_decoder") == [0.2] * 5
    assert not rates("cls")
    assert not rates("seg_encoder")


def test_a_single_spatial_gate_saves_13870071_parameters(published: Published) -> None:
    with published[0]:
        single = CkdNet(scse="single").build(ISIC2017, (), 224, None)
    assert num_parameters(published[1]) - num_parameters(single) == 13_870_071


# Channel attention ---------------------------------------------------------------------------


def attention(delta: float, sign: Literal[-1, 1] = -1) -> ChannelAttention:
    module = ChannelAttention(sign)
    nn.init.constant_(module.delta, delta)
    return module


def test_channel_attention_starts_as_the_identity() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3)
    assert torch.equal(ChannelAttention()(a_BCHW), a_BCHW)


def test_channel_attention_equals_the_authors_softmax_of_rowmax_minus_energy() -> None:
    a_BCT = torch.randn(2, 12, 9, dtype=torch.float64) / 2
    energy_BCC = a_BCT @ a_BCT.transpose(1, 2)
    authors_BCC = torch.softmax(energy_BCC.amax(-1, keepdim=True) - energy_BCC, dim=-1)
    # A shift of the whole row: exact but for the rounding of doubles.
    assert_close(authors_BCC, torch.softmax(-energy_BCC, -1), rtol=1e-12, atol=0)

    expected = (0.7 * authors_BCC @ a_BCT + a_BCT).float().view(2, 12, 3, 3)
    got = attention(0.7)(a_BCT.float().view(2, 12, 3, 3))
    assert_close(got, expected)
    # The attention matrix is not symmetric: its transpose is another network.
    transposed = (0.7 * authors_BCC.transpose(1, 2) @ a_BCT + a_BCT).float().view(2, 12, 3, 3)
    assert (got - transposed).abs().max() > 0.1


def test_positive_energy_sign_is_the_papers_attention() -> None:
    a_BCT = torch.randn(2, 12, 9) / 2
    paper_BCC = torch.softmax(a_BCT @ a_BCT.transpose(1, 2), dim=-1)
    expected = (0.7 * paper_BCC @ a_BCT + a_BCT).view(2, 12, 3, 3)
    got = attention(0.7, sign=1)(a_BCT.view(2, 12, 3, 3))
    assert_close(got, expected)
    assert (got - attention(0.7)(a_BCT.view(2, 12, 3, 3))).abs().max() > 0.1


def test_energy_sign_reaches_the_attention() -> None:
    with FakeTensorMode():
        built = CkdNet(energy_sign=1).build(ISIC2017, (), 64, None)
    assert built.networks.get_submodule("cls.attention").energy_sign == 1


def test_channel_attention_treats_channels_alike() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3) / 2
    order = torch.randperm(16)
    module = attention(0.5)
    assert_close(module(a_BCHW[:, order]), module(a_BCHW)[:, order])


def test_attention_weights_of_a_channel_sum_to_one() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3) / 2
    a_BCHW[:, :, 1, 1] = 0.8
    # Where all channels agree, no weighted mean of them can differ.
    got = attention(0.5)(a_BCHW)[:, :, 1, 1]
    assert_close(got, torch.full_like(got, 1.5 * 0.8))


def test_equal_energies_attend_to_all_channels_equally() -> None:
    a_BCHW = 1e-3 * torch.randn(2, 16, 3, 3)  # energies of 1e-5 differ by nothing a softmax sees
    mixed = (attention(1.0)(a_BCHW) - a_BCHW) / 1e-3
    expected = (a_BCHW.mean(dim=1, keepdim=True) / 1e-3).expand_as(mixed)
    assert_close(mixed, expected, rtol=0, atol=1e-4)


def test_pooling_commutes_with_channel_attention() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3) / 2
    a_BCT = a_BCHW.flatten(2)
    attention_BCC = torch.softmax(-a_BCT @ a_BCT.transpose(1, 2), dim=-1)
    pooled_BC = a_BCT.mean(dim=2)
    expected = pooled_BC + 0.5 * (attention_BCC @ pooled_BC[..., None])[..., 0]
    assert_close(attention(0.5)(a_BCHW).mean(dim=(2, 3)), expected)


def test_energies_stay_in_float32_under_mixed_precision() -> None:
    a_BCHW = 6 * torch.randn(2, 16, 3, 3)  # energies of several hundred
    module = attention(0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(a_BCHW), module.float()(a_BCHW))
        got = module(a_BCHW.bfloat16())
    expected = module(a_BCHW.bfloat16().float()).bfloat16()
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)


# scSE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_scse_gates_every_element_by_between_0_and_2(spatial: Literal["full", "single"]) -> None:
    x_BCHW = torch.rand(2, 32, 5, 5) * 10
    out = ScSE(32, spatial)(x_BCHW)
    assert (out >= 0).all()
    assert (out <= 2 * x_BCHW).all()
    assert (out != x_BCHW).any()


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_scse_of_zero_weights_is_the_identity(spatial: Literal["full", "single"]) -> None:
    module = ScSE(32, spatial)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    x_BCHW = torch.randn(2, 32, 5, 5)
    assert torch.equal(module(x_BCHW), x_BCHW)  # both gates are one half, and they add up


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_scse_adds_a_channel_gate_and_a_spatial_gate(spatial: Literal["full", "single"]) -> None:
    module, x_BCHW = ScSE(32, spatial), torch.randn(2, 32, 5, 5)
    into, out_of = [m for m in module.channel if isinstance(m, nn.Conv2d)]
    assert into.out_channels == 2  # reduction 16
    pooled = x_BCHW.mean(dim=(2, 3), keepdim=True)
    channel = torch.sigmoid(out_of(F.relu(into(pooled))))
    kernel = next(m for m in module.spatial if isinstance(m, nn.Conv2d))
    assert kernel.out_channels == (32 if spatial == "full" else 1)
    expected = x_BCHW * (channel + torch.sigmoid(kernel(x_BCHW)))
    assert_close(module(x_BCHW), expected)


# ASPP ----------------------------------------------------------------------------------------


def centre_tap(branch: ConvBnRelu, x_BCHW: Tensor) -> Tensor:
    conv, bn, _ = branch
    assert isinstance(conv, nn.Conv2d)
    return F.relu(bn(F.conv2d(x_BCHW, conv.weight[:, :, 1:2, 1:2])))


@pytest.mark.parametrize(
    ("branch", "side", "pointwise"),
    [(1, 7, False), (2, 7, True), (3, 7, True), (2, 12, True), (2, 13, False), (3, 13, True)],
)
def test_a_rate_no_smaller_than_the_map_leaves_the_centre_tap(
    small: System, branch: int, side: int, pointwise: bool
) -> None:
    aspp = small.networks.get_submodule(f"rootseg.aspp.{branch}")
    assert isinstance(aspp, ConvBnRelu)
    x_BCHW = torch.randn(2, 512, side, side)
    difference = (aspp(x_BCHW) - centre_tap(aspp, x_BCHW)).abs().max()
    assert difference < 1e-4 if pointwise else difference > 0.1


def test_the_pooled_branch_normalises_last() -> None:
    branch, x_BCHW = randomised(PooledBranch(16, 8)), torch.randn(2, 16, 7, 7)
    pooled = F.relu(branch.conv(x_BCHW.mean(dim=(2, 3), keepdim=True)))
    expected = branch.bn(F.interpolate(pooled, (7, 7), mode="bilinear", align_corners=True))
    got = branch(x_BCHW)
    assert_close(got, expected)
    assert (got < 0).any()  # a ReLU behind the normalisation would show here


def test_the_pooled_branch_trains_on_a_single_image() -> None:
    # Normalised before it is spread, one value per channel would be refused.
    assert PooledBranch(16, 8).train()(torch.randn(1, 16, 7, 7)).isfinite().all()


# The networks, small -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> System:
    """A CKDNet with every seam of the published one, on ResNet18 at 64 px."""
    torch.manual_seed(1)
    shape = CkdNet(
        backbone="resnet18",
        rootseg_width=8,
        rootseg_low_width=6,
        entangle_widths=(10, 12, 14, 16),
        decoder_widths=(12, 10, 8, 6, 4),
    )
    built: System = randomised(shape.build(ISIC2017, ("MEL", "SBK"), 64, None))
    return built.requires_grad_(False)


@pytest.fixture
def image_BHWC() -> Tensor:
    return torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)


def test_images_are_normalised_as_imagenet_is(image_BHWC: Tensor) -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((image_BHWC / 255.0 - mean) / std).permute(0, 3, 1, 2)
    assert_close(ImageInput()(image_BHWC), expected)


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(
    small: System, image_BHWC: Tensor
) -> None:
    exact = copy.deepcopy(small).double()
    together = exact(image_BHWC)
    alone = exact(image_BHWC[1:2])
    for name in exact.outputs.names():
        # Doubles, but for the channel means and the attention, which are float32 by design.
        assert_close(alone[name], together[name][1:2], atol=1e-4)


def test_gates_are_sigmoids_of_the_coarse_encoders_maps(small: System, image_BHWC: Tensor) -> None:
    rootseg = small.networks["rootseg"]
    image_BCHW = small.image_input(image_BHWC)
    _, *maps = rootseg.get_submodule("encoder")(image_BCHW)
    _, *gates = rootseg(image_BCHW)
    for phi, gate in zip(maps, gates, strict=True):
        assert_close(gate, torch.sigmoid(phi))
        # phi is behind a ReLU, so a gate is never below one half and 1 + gate never near 1.
        assert (gate >= 0.5).all()
        assert (gate <= 1.0).all()
        assert (gate > 0.5).any()


def test_rootseg_joins_context_and_detail_in_the_order_of_the_code(
    small: System, image_BHWC: Tensor
) -> None:
    rootseg = small.networks["rootseg"]
    assert isinstance(rootseg, RootSeg)
    image_BCHW = small.image_input(image_BHWC)
    with watched(rootseg.project) as projected, watched(rootseg.decode) as decoded:
        logits, *_ = rootseg(image_BCHW)
    _, x1, _, _, x4 = rootseg.encoder(image_BCHW)

    branches = torch.cat([branch(x4) for branch in rootseg.aspp], dim=1)
    assert_close(projected[0][0], branches)
    low, context = rootseg.low(x1), projected[0][1]
    up = F.interpolate(context, (16, 16), mode="bilinear", align_corners=True)
    joined = decoded[0][0]
    assert_close(joined[:, :8], up)
    assert_close(joined[:, 8:], low)
    assert torch.equal(logits, decoded[0][1])
    other = F.interpolate(context, (16, 16), mode="bilinear", align_corners=False)
    assert (joined[:, :8] - other).abs().max() > 0.01  # the corners matter here


def test_aspp_branches_come_in_the_order_of_their_rates(small: System) -> None:
    *atrous, pooled = small.networks.get_submodule("rootseg.aspp").children()
    convs = [next(m for m in branch.modules() if isinstance(m, nn.Conv2d)) for branch in atrous]
    assert [conv.kernel_size[0] for conv in convs] == [1, 3, 3, 3]
    assert [conv.dilation[0] for conv in convs] == [1, *ASPP_RATES]
    assert ASPP_RATES == (6, 12, 18)
    assert isinstance(pooled, PooledBranch)


def test_the_classifier_sees_colours_then_the_enlarged_probability(small: System) -> None:
    cls = small.networks["cls"]
    assert isinstance(cls, Cls)
    image_BCHW, coarse = torch.randn(2, 3, 64, 64), 4 * torch.randn(2, 1, 16, 16)
    gates = [torch.zeros(1)] * 4
    with watched(cls.encoder.stem) as calls:
        cls(image_BCHW, coarse, *gates)
    seen = calls[0][0]
    assert torch.equal(seen[:, :3], image_BCHW)
    up = F.interpolate(coarse, (64, 64), mode="bilinear", align_corners=True)
    assert_close(seen[:, 3:], torch.sigmoid(up))
    # The two mistakes that would pass for it.
    unaligned = F.interpolate(coarse, (64, 64), mode="bilinear", align_corners=False)
    assert (seen[:, 3:] - torch.sigmoid(unaligned)).abs().max() > 0.1
    early = F.interpolate(torch.sigmoid(coarse), (64, 64), mode="bilinear", align_corners=True)
    assert (seen[:, 3:] - early).abs().max() > 0.1


def test_gates_lie_between_the_classifiers_stages(small: System, image_BHWC: Tensor) -> None:
    cls = small.networks["cls"]
    assert isinstance(cls, Cls)
    tensors = small(image_BHWC)
    gates = [tensors[f"gate{level}"] for level in (1, 2, 3, 4)]
    f = cls.encoder.stem(
        torch.cat(
            [
                small.image_input(image_BHWC),
                torch.sigmoid(
                    F.interpolate(
                        tensors["coarse_logits"], (64, 64), mode="bilinear", align_corners=True
                    )
                ),
            ],
            dim=1,
        )
    )
    for level, (stage, gate) in enumerate(zip(cls.encoder.stages, gates, strict=True), start=1):
        f = stage(f)
        # What goes to CKD-Seg is taken before the gate.
        mean = f.mean(dim=1, keepdim=True)
        assert_close(tensors[f"mean{level}"], mean)
        f = f + f * gate
    expected = cls.classify.fc(cls.attention(f).mean(dim=(2, 3)))
    assert_close(tensors["logits"], expected, rtol=1e-4, atol=1e-4)


def test_closed_gates_leave_a_plain_classifier(small: System) -> None:
    cls = small.networks["cls"]
    assert isinstance(cls, Cls)
    image_BCHW, coarse = torch.randn(2, 3, 64, 64), torch.randn(2, 1, 64, 64)
    # sigmoid(phi) = 0 is the limit of no knowledge: every map passes as it is.
    closed, *_ = cls(image_BCHW, coarse, *[torch.zeros(1)] * 4)
    *_, x4 = cls.encoder(torch.cat([image_BCHW, torch.sigmoid(coarse)], dim=1))
    expected = cls.classify.fc(cls.attention(x4).mean(dim=(2, 3)))
    assert_close(closed, expected, rtol=1e-4, atol=1e-4)


# CKD-Seg -------------------------------------------------------------------------------------


def test_split_entangle_equals_one_convolution_over_the_joined_maps() -> None:
    encoder = Encoder(nn.Sequential(), [nn.Identity()] * 4, (3, 5, 6, 7, 8))
    first = SegEncoder(encoder, (9, 10, 11, 12)).double()
    conv = first.entangle[0]
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    nn.init.normal_(conv.bias)
    second = randomised(EntangleKnowledge(9, num_summed=40)).double()
    nn.init.constant_(second.mu, -1.3)
    g, f = torch.randn(2, 5, 8, 8).double(), torch.rand(2, 40, 8, 8).double()

    joined = nn.Conv2d(6, 9, 3, padding=1).double()
    with torch.no_grad():
        joined.weight.copy_(torch.cat([conv.weight, second.conv.weight], dim=1))
        assert joined.bias is not None
        joined.bias.copy_(conv.bias)
    summed = f.sum(dim=1, keepdim=True)
    expected = F.relu(second.bn(joined(torch.cat([g, second.mu * summed], dim=1))))
    # In doubles the split is exact but for the order of sums.
    got = second(conv(g), f.mean(dim=1, keepdim=True))
    assert_close(got, expected, rtol=1e-10, atol=1e-10)
    # The order of the classifier's channels cannot matter: only their sum arrives.
    shuffled = second(conv(g), f[:, torch.randperm(40)].mean(dim=1, keepdim=True))
    assert_close(got, shuffled, rtol=1e-10, atol=1e-10)


def seg_inputs(system: System, seed: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    tensors = system(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=rng))
    node = next(node for node in system.nodes if node.name == "seg_decoder")
    return [tensors[name] for name in node.inputs]


def test_without_mu_the_mask_ignores_the_classifier(small: System) -> None:
    decoder = small.networks["seg_decoder"]
    *image_half, m1, m2, m3, m4 = seg_inputs(small, 0)
    others = [torch.rand_like(mean) for mean in (m1, m2, m3, m4)]
    with_mu = decoder(*image_half, m1, m2, m3, m4)
    assert (with_mu - decoder(*image_half, *others)).abs().max() > 1e-3

    scalars = [p for name, p in decoder.named_parameters() if name.endswith(".mu")]
    assert len(scalars) == 4
    kept = [p.clone() for p in scalars]
    for scalar in scalars:
        scalar.zero_()
    assert torch.equal(decoder(*image_half, m1, m2, m3, m4), decoder(*image_half, *others))
    for scalar, value in zip(scalars, kept, strict=True):
        scalar.copy_(value)


def test_at_the_start_only_mu_learns_from_the_classifier() -> None:
    part = EntangleKnowledge(4, num_summed=8)
    assert part.mu.item() == 0.0
    weight_B = torch.randn(2, 4, 6, 6)
    (part(torch.randn(2, 4, 6, 6), torch.rand(2, 1, 6, 6)) * weight_B).sum().backward()
    assert part.mu.grad is not None
    assert part.conv.weight.grad is not None
    assert part.mu.grad.abs().item() > 0
    assert not part.conv.weight.grad.any()


def test_a_block_joins_the_enlarged_map_before_the_skip() -> None:
    block = AttentionBlock(4, 3, 5, "full", dropout=0.0)
    below, skip = torch.randn(2, 4, 6, 6), torch.randn(2, 3, 12, 12)
    with watched(block.before) as calls:
        out = block(below, skip)
    joined = calls[0][0]
    nearest = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(joined[:, :4], nearest)
    assert torch.equal(joined[:, 4:], skip)
    assert out.shape == (2, 5, 12, 12)


def test_the_last_block_has_no_skip_and_one_scse() -> None:
    block = AttentionBlock(4, 0, 5, "full", dropout=0.0)
    assert sum(isinstance(m, ScSE) for m in block.modules()) == 1
    assert block(torch.randn(2, 4, 6, 6)).shape == (2, 5, 12, 12)


def test_each_block_gets_the_skip_of_its_scale(small: System) -> None:
    decoder = small.networks["seg_decoder"]
    assert isinstance(decoder, SegDecoder)
    given = seg_inputs(small, 1)
    g0, means = given[0], given[5:]
    skips: list[Tensor | None] = []
    handles = [
        block.register_forward_hook(lambda _, inputs, __: skips.append(inputs[1]))
        for block in decoder.blocks
    ]
    with watched(decoder.blocks[0]) as first:
        decoder(*given)
    for handle in handles:
        handle.remove()
    parts = zip(decoder.knowledge, given[1:5], means, strict=True)
    h = [part(half, mean) for part, half, mean in parts]
    assert torch.equal(first[0][0], h[3])
    for skip, expected in zip(skips[:4], [h[2], h[1], h[0], g0], strict=True):
        assert skip is not None
        assert torch.equal(skip, expected)
    assert skips[4] is None


def test_new_layers_start_as_the_authors_do() -> None:
    encoder = build_encoder("mobilenet_v2")
    rootseg, seg = RootSeg(encoder), SegEncoder(encoder)
    decoder = SegDecoder(seg, encoder.channels[1:])

    def spread(conv: nn.Module) -> tuple[float, float]:
        """Standard deviation and maximum, in units of Kaiming's standard deviation."""
        assert isinstance(conv, nn.Conv2d)
        fan_in = conv.weight[0].numel()
        unit = math.sqrt(2 / fan_in)
        return conv.weight.std().item() / unit, conv.weight.abs().max().item() / unit

    normal = rootseg.get_submodule("decode.1.0")
    uniform = decoder.get_submodule("blocks.0.convs.1.0")
    for conv in (normal, uniform):
        # Half a million draws: their standard deviation is known to a tenth of a percent.
        assert spread(conv)[0] == pytest.approx(1.0, abs=0.02)
    assert spread(normal)[1] > 4  # a normal distribution has tails, a uniform one ends at root 3
    assert math.sqrt(3) * 0.99 < spread(uniform)[1] <= math.sqrt(3) * 1.001
    for module in [*seg.entangle.modules(), *decoder.modules()]:
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            assert not module.bias.any()
    assert ChannelAttention().delta.item() == 0.0


def test_the_knowledge_kernel_starts_as_a_slice_of_the_joined_one() -> None:
    encoder = build_encoder("mobilenet_v2")
    decoder = SegDecoder(SegEncoder(encoder), encoder.channels[1:])
    for part, channels in zip(decoder.knowledge, encoder.channels[1:], strict=True):
        weight = part.get_submodule("conv").get_parameter("weight")
        # The authors' kernel takes the photograph's channels and the sum: that is its fan-in.
        unit = math.sqrt(2 / (9 * (channels + 1)))
        # 216 draws or more: their standard deviation is known to four percent.
        assert weight.std().item() / unit == pytest.approx(1.0, abs=0.15)


# The classifier's stem -----------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_the_fourth_kernel_slice_is_the_mean_of_the_colours(bias: bool) -> None:
    conv = nn.Conv2d(3, 6, 7, stride=2, padding=3, bias=bias)
    stem = nn.Sequential(conv, nn.BatchNorm2d(6), nn.ReLU())
    encoder = Encoder(stem, [nn.Identity()] * 4, (6, 6, 6, 6, 6))
    add_input_channel(encoder, fresh_bn=True)
    wide = encoder.stem[0]
    assert isinstance(wide, nn.Conv2d)
    assert wide.in_channels == 4
    assert torch.equal(wide.weight[:, 3], wide.weight[:, :3].mean(dim=1))
    image_BCHW = torch.randn(2, 3, 20, 20)
    blank = torch.cat([image_BCHW, torch.zeros(2, 1, 20, 20)], dim=1)
    assert_close(wide(blank), conv(image_BCHW))


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "googlenet"])
@pytest.mark.parametrize("stem_bn", ["fresh", "imagenet"])
def test_the_stems_statistics_are_dropped_or_kept(
    backbone: Backbone,
    stem_bn: Literal["fresh", "imagenet"],
) -> None:
    encoder = randomised(build_encoder(backbone))
    bns = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [[t.clone() for t in bn.state_dict().values()] for bn in bns]
    cls = Cls(encoder, 3, stem_bn)
    assert cls.encoder.stem(torch.randn(2, 4, 32, 32)).shape[2:] == (16, 16)

    first = list(bns[0].state_dict().values())
    fresh = list(nn.BatchNorm2d(bns[0].num_features).state_dict().values())
    for got, expected in zip(first, fresh if stem_bn == "fresh" else before[0], strict=True):
        assert torch.equal(got, expected)
    for bn, values in zip(bns[1:], before[1:], strict=True):
        for got, expected in zip(bn.state_dict().values(), values, strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize(("stem_bn", "kept"), [("fresh", False), ("imagenet", True)])
def test_stem_bn_reaches_the_classifier(
    stem_bn: Literal["fresh", "imagenet"], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked(*args: Any, **kwargs: Any) -> Encoder:
        encoder = build_encoder(*args, **kwargs)
        bn = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
        nn.init.constant_(bn.bias, 7)
        return encoder

    monkeypatch.setattr("ckd.train.systems.ckdnet.build_encoder", marked)
    built = CkdNet(backbone="mobilenet_v2", rootseg_width=4, stem_bn=stem_bn).build(
        ISIC2017, (), 64, None
    )
    stem = built.networks.get_submodule("cls.encoder.stem")
    bn = next(m for m in stem.modules() if isinstance(m, nn.BatchNorm2d))
    assert bool((bn.bias == 7).all()) == kept


# Encoders ------------------------------------------------------------------------------------

CHANNELS: dict[Backbone, tuple[int, int, int, int, int]] = {
    "resnet18": (64, 64, 128, 256, 512),
    "resnet34": (64, 64, 128, 256, 512),
    "resnet50": (64, 256, 512, 1024, 2048),
    "resnet101": (64, 256, 512, 1024, 2048),
    "vgg16_bn": (128, 256, 512, 512, 512),
    "mobilenet_v2": (16, 24, 32, 96, 320),
    "googlenet": (64, 192, 480, 832, 1024),
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, *_: Any, **__: Any) -> Any:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


@pytest.mark.parametrize("backbone", get_args(Backbone))
@pytest.mark.usefixtures("offline")
def test_maps_have_the_stated_channels_and_strides_2_to_32(backbone: Backbone) -> None:
    with FakeTensorMode():
        encoder = build_encoder(backbone, None)
        maps = encoder.eval()(torch.zeros(1, 3, 96, 64))
    assert encoder.channels == CHANNELS[backbone]
    assert [tuple(x.shape) for x in maps] == [
        (1, channels, 96 // stride, 64 // stride)
        for channels, stride in zip(CHANNELS[backbone], (2, 4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(
    ("backbone", "head", "width"),
    [("mobilenet_v2", True, 1280), ("mobilenet_v2", False, 320), ("resnet18", True, 512)],
)
def test_the_head_is_mobilenets_last_convolution(
    backbone: Backbone, head: bool, width: int
) -> None:
    with FakeTensorMode():
        encoder = build_encoder(backbone, head=head)
        x4 = torch.zeros(2, encoder.channels[4], 3, 3)
        assert encoder.head_channels == width
        assert encoder.eval().head(x4).shape == (2, width, 3, 3)
        if width == encoder.channels[4]:
            assert encoder.head(x4) is x4


def test_the_classifier_alone_has_the_head() -> None:
    with FakeTensorMode():
        built = CkdNet(backbone="mobilenet_v2").build(ISIC2017, (), 64, None)
    heads = {name: num_parameters(built.networks.get_submodule(f"{name}.encoder.head"))
             for name in ("rootseg", "cls", "seg_encoder")}  # fmt: skip
    assert heads == {"rootseg": 0, "cls": 320 * 1280 + 2 * 1280, "seg_encoder": 0}
    assert built.networks.get_submodule("cls.classify.fc").in_features == 1280


def test_the_head_comes_between_attention_and_pooling() -> None:
    mode = FakeTensorMode()
    with mode:
        cls = Cls(build_encoder("mobilenet_v2", head=True), 3).eval()
        gates = [torch.zeros(1)] * 4
        with watched(cls.attention) as attended, watched(cls.encoder.head) as headed:
            cls(torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 16, 16), *gates)
    assert attended[0][0].shape == (2, 320, 2, 2)
    assert headed[0][0] is attended[0][1]


def test_an_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'resnet19'.*resnet18.*mobilenet_v2"):
        build_encoder("resnet19")  # type: ignore[arg-type]


@pytest.mark.usefixtures("offline")
def test_unreachable_imagenet_weights_name_the_remedy() -> None:
    with pytest.raises(
        EnvironmentUnusable, match=r"mobilenet_v2.*no route.*--weights FILE"
    ) as told:
        build_encoder("mobilenet_v2", "imagenet")
    assert isinstance(told.value.__cause__, URLError)


@pytest.mark.parametrize(
    ("backbone", "which"),
    [("mobilenet_v2", "mobilenet_v2-b0353104"), ("resnet18", "resnet18-f37072fd")],
)
def test_imagenet_means_the_first_published_weights(
    backbone: Backbone, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = getattr(tv, backbone)(weights=None).state_dict()
    asked = []

    def fetch(url: str, *_: Any, **__: Any) -> Any:
        asked.append(url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    encoder = build_encoder(backbone, "imagenet")
    assert len(asked) == 1
    assert which in asked[0]
    assert torch.equal(next(iter(encoder.parameters())), next(iter(state.values())))


def mobilenet_file(
    path: Path, change: Callable[[dict[str, Any]], Any] | None = None
) -> tv.MobileNetV2:
    network = tv.mobilenet_v2(weights=None)
    state = network.state_dict()
    torch.save(state if change is None else change(state), path)
    return network


def test_a_local_weight_file_is_what_the_encoder_computes_with(tmp_path: Path) -> None:
    def headless(state: dict[str, Any]) -> dict[str, Any]:
        """As files without the classifier, or from before the batch counters, are."""
        dropped = ("classifier.", "features.0.1.num_batches_tracked")
        return {k: v for k, v in state.items() if not k.startswith(dropped)}

    network = mobilenet_file(tmp_path / "w.pth", headless).eval()
    encoder = build_encoder("mobilenet_v2", tmp_path / "w.pth", head=True).eval()
    image_BCHW = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        got = encoder.head(encoder(image_BCHW)[4])
        assert torch.equal(got, network.features(image_BCHW))


def test_resnet_maps_are_those_of_the_network_cut(tmp_path: Path) -> None:
    network = tv.resnet18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    encoder = build_encoder("resnet18", tmp_path / "w.pth").eval()
    with torch.no_grad():
        image_BCHW = torch.randn(1, 3, 64, 64)
        x0 = network.relu(network.bn1(network.conv1(image_BCHW)))
        expected = [x0, network.layer1(network.maxpool(x0))]
        for layer in (network.layer2, network.layer3, network.layer4):
            expected.append(layer(expected[-1]))
        for got, x in zip(encoder(image_BCHW), expected, strict=True):
            assert torch.equal(got, x)


def test_a_missing_weight_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match=r"absent\.pth.*mobilenet_v2"):
        build_encoder("mobilenet_v2", tmp_path / "absent.pth")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    mobilenet_file(tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"w\.pth: not resnet18 weights.*'bn1\.bias'"):
        build_encoder("resnet18", tmp_path / "w.pth")


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    def narrowed(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "features.18.0.weight": torch.zeros(640, 320, 1, 1)}

    mobilenet_file(tmp_path / "w.pth", narrowed)
    with pytest.raises(UsageError, match=r"(?s)w\.pth: tensors do not fit.*features\.18"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content", [b"", b"not a weight file", b"PK\x03\x04 a damaged archive"], ids=repr
)
def test_a_file_that_is_no_weight_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UsageError, match=r"w\.pth: not a PyTorch state dict"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"state_dict": {}}], ids=repr)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"w\.pth: not"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


def test_a_weight_file_cannot_run_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harmed",))

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UsageError):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")
    assert not (tmp_path / "harmed").exists()


# The head of every classifier ----------------------------------------------------------------


def test_a_class_head_joins_the_means_of_its_maps() -> None:
    torch.manual_seed(0)
    head = ClassHead((3, 5), 2).eval()
    fine, coarse = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)
    pooled = torch.cat([fine.mean(dim=(2, 3)), coarse.mean(dim=(2, 3))], dim=1)
    (logits,) = head(fine, coarse)
    torch.testing.assert_close(logits, head.fc(pooled))
    head.gives_map = True
    again, map_BKHW = head(fine, coarse)
    assert torch.equal(again, logits)
    assert map_BKHW.shape == (2, 2, 8, 8)
    # Twice the size: bilinear enlarging keeps the mean up to its borders.
    inner = map_BKHW.mean(dim=(2, 3)) + head.fc.bias
    torch.testing.assert_close(inner, logits, atol=0.05, rtol=0)


def test_weights_are_found_in_a_folder_by_the_backbones_name(tmp_path: Path) -> None:
    network = tv.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    torch.save({}, tmp_path / "resnet182.pth")
    encoder = build_encoder("resnet18", tmp_path)
    assert torch.equal(encoder.stem[0].weight, network.conv1.weight)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentUnusable, match=r"one weight file resnet34\*\.pth.*found none"):
        build_encoder("resnet34", tmp_path)
    torch.save({}, tmp_path / "resnet18.pth")
    with pytest.raises(EnvironmentUnusable, match=r"found resnet18-f37072fd\.pth, resnet18\.pth"):
        build_encoder("resnet18", tmp_path)
