"""Encoders: where torchvision's classifiers are cut, and what their maps are.

Suffixes: B batch, C channels, H rows, W columns.
"""

from pathlib import Path
from typing import get_args

import pytest
import torch
import torchvision.models as tv
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.errors import UsageError
from ckd.train.networks.encoder import Backbone, build_encoder

CHANNELS: dict[Backbone, tuple[int, int, int, int, int]] = {
    "resnet18": (64, 64, 128, 256, 512),
    "resnet34": (64, 64, 128, 256, 512),
    "resnet50": (64, 256, 512, 1024, 2048),
    "resnet101": (64, 256, 512, 1024, 2048),
    "vgg16_bn": (128, 256, 512, 512, 512),
    "mobilenet_v2": (16, 24, 32, 96, 320),
    "googlenet": (64, 192, 480, 832, 1024),
}


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


def test_an_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'resnet19'.*resnet18.*mobilenet_v2"):
        build_encoder("resnet19")


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
