"""Encoders: classifiers cut into a stem and four stages at strides 4, 8, 16 and 32.

Those that the papers name are torchvision's; all others are timm's. The other networks use the
feature maps x0..x4, and the classifier inserts gates between the stages.

Suffixes: B batch, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torchvision.models as tv
from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.train.networks.image_input import HalfMeanInput
from ckd.train.networks.pretrained import Pretrained, Weights, imagenet_network

#: torchvision's encoders whose maps have exactly the strides 2 to 32.
Backbone = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "vgg16_bn", "mobilenet_v2", "googlenet",
]  # fmt: skip
#: Inception V3 pads little, so its maps are smaller: 109, 52, 25, 12 and 5 px for 224 px.
AnyBackbone = Literal[Backbone, "inception_v3"]


class Encoder(Pretrained):
    """``x0 = stem(image)`` at stride 2, then ``x_l = stages[l-1](x_(l-1))`` at strides 4 to 32.

    Attributes:
        channels: of x0, x1, x2, x3, x4.
        head: the layers of the ImageNet network between x4 and its pooling (the last 1x1
            convolution of MobileNets and EfficientNets); identity for the others.
        head_channels: of the head's output.
        stride: nominal stride of x0.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        stages: Sequence[nn.Module],
        channels: tuple[int, int, int, int, int],
        head: nn.Module | None = None,
        head_channels: int | None = None,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.head = head or nn.Identity()
        self.head_channels = head_channels or channels[4]
        self.stride = stride

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Feature maps x0 (stride 2) to x4 (stride 32); a plain U-Net has half these strides."""
        maps = [self.stem(image_BCHW)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps)


def build_encoder(backbone: str, weights: Weights = None, *, head: bool = False) -> Encoder:
    """An encoder, optionally with ImageNet weights and with the ImageNet network's own head.

    Args:
        backbone: one of `AnyBackbone`, which are torchvision's, or else a name of timm's. Of names
            that both have, such as resnet18, timm's network is timm/resnet18.
        weights: see `Weights`; those of timm's networks come from a file.
        head: whether the classifier's own layers after x4 are kept.

    Raises:
        UsageError: unknown backbone, one that cannot be cut, or a weight file of another network.
        EnvironmentUnusable: the weights can be neither fetched nor read.
    """
    check_backbone(backbone)
    if backbone not in get_args(AnyBackbone):
        from ckd.train.networks.timm_encoder import cut_network

        cut = cut_network(backbone, weights)
        if not head:
            return Encoder(cut.stem, cut.stages, cut.channels)
        return Encoder(cut.stem, cut.stages, cut.channels, cut.head, cut.head_channels)
    network = imagenet_network(backbone, weights)
    if backbone.startswith("resnet"):
        return _from_resnet(network)
    if backbone == "vgg16_bn":
        return _from_vgg16_bn(network)
    if backbone == "googlenet":
        return _from_googlenet(network)
    if backbone == "inception_v3":
        return _from_inception_v3(network)
    return _from_mobilenet_v2(network, head)


def check_backbone(backbone: str, torchvisions: Sequence[str] = get_args(AnyBackbone)) -> None:
    """`UsageError` unless it is one of torchvision's given encoders or a name of timm's."""
    if backbone in torchvisions:
        return
    near: list[str] = []
    if backbone not in get_args(AnyBackbone):
        from ckd.train.networks.timm_encoder import is_known, near_names  # takes a second

        if is_known(backbone):
            return
        near = near_names(backbone)
    known = ", ".join(map(repr, torchvisions))
    hint = f" (near: {', '.join(near)})" if near else " such as efficientnet_lite0"
    raise UsageError(f"{backbone!r} is no encoder; expected {known}, or a network of timm's{hint}")


def add_input_channel(encoder: Encoder, *, fresh_bn: bool) -> None:
    """Make the stem take RGB plus one map: the 4th kernel slice is the mean of the RGB slices.

    Args:
        encoder: changed in place.
        fresh_bn: reset the stem's batch normalisation and so drop its ImageNet statistics, as
            CKDNet's code does; the paper does not say.
    """
    rgb = next(m for m in encoder.stem.modules() if isinstance(m, nn.Conv2d))
    wide = type(rgb)(  # a subclass of timm's pads as TensorFlow does
        rgb.in_channels + 1,
        rgb.out_channels,
        rgb.kernel_size,  # type: ignore[arg-type]
        rgb.stride,  # type: ignore[arg-type]
        rgb.padding,  # type: ignore[arg-type]
        bias=rgb.bias is not None,
    )
    with torch.no_grad():
        wide.weight.copy_(torch.cat([rgb.weight, rgb.weight.mean(dim=1, keepdim=True)], dim=1))
        if rgb.bias is not None and wide.bias is not None:
            wide.bias.copy_(rgb.bias)
    _replace(encoder.stem, rgb, wide)
    if fresh_bn:
        bns = [m for m in encoder.stem.modules() if isinstance(m, nn.BatchNorm2d)]
        for stem_bn in bns[:1]:  # a few of timm's networks normalise only after x0
            stem_bn.reset_running_stats()
            stem_bn.reset_parameters()
            encoder.fresh.append(stem_bn)


def _from_resnet(net: nn.Module) -> Encoder:
    assert isinstance(net, tv.ResNet)
    width = net.fc.in_features // 8  # 64 for basic blocks, 256 for bottlenecks
    return Encoder(
        nn.Sequential(net.conv1, net.bn1, net.relu),
        [nn.Sequential(net.maxpool, net.layer1), net.layer2, net.layer3, net.layer4],
        (64, width, 2 * width, 4 * width, 8 * width),
    )


def _from_vgg16_bn(net: nn.Module) -> Encoder:
    assert isinstance(net, tv.VGG)
    blocks = net.features
    # The first two convolutions run at full size. The stem ends after the second block, so that the
    # five maps have the same strides as those of a ResNet.
    cuts = [blocks[13:23], blocks[23:33], blocks[33:43], blocks[43:44]]
    return Encoder(blocks[0:13], cuts, (128, 256, 512, 512, 512))


def _from_mobilenet_v2(net: nn.Module, head: bool) -> Encoder:
    assert isinstance(net, tv.MobileNetV2)
    blocks = net.features
    # Stages end in linear bottlenecks, so these maps have both signs, unlike those of a ResNet.
    return Encoder(
        blocks[0:2],
        [blocks[2:4], blocks[4:7], blocks[7:14], blocks[14:18]],
        (16, 24, 32, 96, 320),
        blocks[18] if head else None,
        1280 if head else None,
    )


def _from_googlenet(net: nn.Module) -> Encoder:
    assert isinstance(net, tv.GoogLeNet)
    # Max-pooling in ceil mode halves even sides exactly.
    return Encoder(
        nn.Sequential(HalfMeanInput(), net.conv1),
        [
            nn.Sequential(net.maxpool1, net.conv2, net.conv3),
            nn.Sequential(net.maxpool2, net.inception3a, net.inception3b),
            nn.Sequential(
                net.maxpool3, net.inception4a, net.inception4b, net.inception4c, net.inception4d,
                net.inception4e,
            ),
            nn.Sequential(net.maxpool4, net.inception5a, net.inception5b),
        ],
        (64, 192, 480, 832, 1024),
    )  # fmt: skip


def _from_inception_v3(net: nn.Module) -> Encoder:
    """The network cut after Conv2d_2b, Conv2d_4a, Mixed_5d, Mixed_6e and Mixed_7c."""
    assert isinstance(net, tv.Inception3)
    return Encoder(
        nn.Sequential(
            HalfMeanInput(), net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3
        ),
        [
            nn.Sequential(net.maxpool1, net.Conv2d_3b_1x1, net.Conv2d_4a_3x3),
            nn.Sequential(net.maxpool2, net.Mixed_5b, net.Mixed_5c, net.Mixed_5d),
            nn.Sequential(
                net.Mixed_6a, net.Mixed_6b, net.Mixed_6c, net.Mixed_6d, net.Mixed_6e
            ),
            nn.Sequential(net.Mixed_7a, net.Mixed_7b, net.Mixed_7c),
        ],
        (64, 192, 288, 768, 2048),
    )  # fmt: skip


def _replace(parent: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for module in parent.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
                return
