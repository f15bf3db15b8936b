"""CKD-Cls: its stem, the gates between its stages, and its head.

Suffixes: B batch, C channels, H rows, W columns.
"""

from typing import TYPE_CHECKING, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.train.networks.cls import Cls
from ckd.train.networks.encoder import Backbone, Encoder, add_input_channel, build_encoder
from ckd.train.systems.graph import System

if TYPE_CHECKING:
    from tests.train.networks.conftest import Randomise, Watch


def assert_close(got: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """By default for float32 on both sides and values of order one, summed in another order."""
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def test_the_classifier_sees_colours_then_the_enlarged_probability(
    small: System, watched: "Watch"
) -> None:
    cls = small.networks["cls"]
    assert isinstance(cls, Cls)
    image_BCHW, coarse = torch.randn(2, 3, 64, 64), 4 * torch.randn(2, 1, 16, 16)
    gates = [torch.zeros(1, 1, 1, 1)] * 4
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
    closed, *_ = cls(image_BCHW, coarse, *[torch.zeros(1, 1, 1, 1)] * 4)
    *_, x4 = cls.encoder(torch.cat([image_BCHW, torch.sigmoid(coarse)], dim=1))
    expected = cls.classify.fc(cls.attention(x4).mean(dim=(2, 3)))
    assert_close(closed, expected, rtol=1e-4, atol=1e-4)


def test_the_head_comes_between_attention_and_pooling(watched: "Watch") -> None:
    mode = FakeTensorMode()
    with mode:
        cls = Cls(build_encoder("mobilenet_v2", head=True), 3).eval()
        gates = [torch.zeros(1, 1, 1, 1)] * 4
        with watched(cls.attention) as attended, watched(cls.encoder.head) as headed:
            cls(torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 16, 16), *gates)
    assert attended[0][0].shape == (2, 320, 2, 2)
    assert headed[0][0] is attended[0][1]


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
    backbone: Backbone, stem_bn: Literal["fresh", "imagenet"], randomised: "Randomise"
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
