"""Encoders: torchvision classifiers cut into a stem and four stages at strides 4, 8, 16 and 32.

The networks above need two things of an encoder: the feature maps x0..x4, and, for the classifier,
the seams between stages, where a gate is inserted.

Suffixes: B batch, C channels, H rows, W columns.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
import torchvision.models as tv
from torch import Tensor, nn

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.train.networks.image_input import HalfMeanInput

Backbone = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "vgg16_bn", "mobilenet_v2",
    "googlenet",
]  # fmt: skip
#: "imagenet" lets torchvision fetch its weights, None starts from noise, a path reads a state dict,
#: for systems of several backbones from a folder that has one for each, as torchvision names them.
Weights = Literal["imagenet"] | Path | None
#: What torchvision is told when it builds a network that its own weights do not come with.
_UNTRAINED: Mapping[str, Mapping[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


class Pretrained(nn.Module):
    """What learns at a stage's ``encoder_lr``: a part that may start from ImageNet.

    Attributes:
        fresh: modules among these that do not start from ImageNet and learn at the rate of the
            other new layers, as in CKDNet's code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[nn.Module] = []

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """All but those of ``fresh``."""
        new = {id(p) for module in self.fresh for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in new]


class Encoder(Pretrained):
    """``x0 = stem(image)`` at stride 2, then ``x_l = stages[l-1](x_(l-1))`` at strides 4 to 32.

    Attributes:
        channels: of x0, x1, x2, x3, x4.
        head: what the ImageNet network puts between x4 and its pooling (MobileNetV2's last 1x1
            convolution); identity for the others.
        head_channels: of the head's output.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        stages: Sequence[nn.Module],
        channels: tuple[int, int, int, int, int],
        head: nn.Module | None = None,
        head_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.head = head or nn.Identity()
        self.head_channels = head_channels or channels[4]

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Feature maps x0 (stride 2) to x4 (stride 32)."""
        maps = [self.stem(image_BCHW)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps)


def build_encoder(backbone: Backbone, weights: Weights = None, *, head: bool = False) -> Encoder:
    """An encoder, optionally with ImageNet features and with the ImageNet network's own head.

    Raises:
        UsageError: unknown backbone, or a weight file that is not one of it.
        EnvironmentUnusable: the weights can be neither fetched nor read.
    """
    if backbone not in get_args(Backbone):
        known = ", ".join(get_args(Backbone))
        raise UsageError(f"unknown backbone {backbone!r}; expected one of {known}")
    network = imagenet_network(backbone, weights)
    if backbone.startswith("resnet"):
        return _from_resnet(network)
    if backbone == "vgg16_bn":
        return _from_vgg16_bn(network)
    if backbone == "googlenet":
        return _from_googlenet(network)
    return _from_mobilenet_v2(network, head)


def add_input_channel(encoder: Encoder, *, fresh_bn: bool) -> None:
    """Let the stem take RGB plus one map: the 4th kernel slice is the mean of the RGB slices.

    Args:
        encoder: changed in place.
        fresh_bn: start the stem's batch normalisation anew, as CKDNet's code does, which drops
            the ImageNet statistics; the paper is silent.
    """
    rgb = next(m for m in encoder.stem.modules() if isinstance(m, nn.Conv2d))
    wide = nn.Conv2d(
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
        stem_bn = next(m for m in encoder.stem.modules() if isinstance(m, nn.BatchNorm2d))
        stem_bn.reset_running_stats()
        stem_bn.reset_parameters()
        encoder.fresh.append(stem_bn)


def imagenet_network(backbone: str, weights: Weights) -> nn.Module:
    """A torchvision classifier by its name; what lies past its features may start from noise.

    Raises:
        UsageError: torchvision knows no such classifier or has no such weights of it, or a file
            that holds others.
        EnvironmentUnusable: the weights can be neither fetched nor read.
    """
    if backbone not in _classifiers():
        near = difflib.get_close_matches(backbone, _classifiers(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "expected such as resnet50"
        raise UsageError(f"torchvision has no classifier {backbone!r}; {hint}")
    build: Callable[..., nn.Module] = getattr(tv, backbone)
    untrained = _UNTRAINED.get(backbone, {})
    if weights is None:
        return build(weights=None, **untrained)
    if weights == "imagenet":
        try:
            return build(weights="IMAGENET1K_V1")
        except KeyError as error:
            raise UsageError(
                f"torchvision has no ImageNet weights for {backbone}; name a local state dict "
                "with --weights FILE, or train from noise with --weights none"
            ) from error
        except OSError as error:  # URLError is one
            raise EnvironmentUnusable(
                f"ImageNet weights for {backbone} could not be fetched ({error}); "
                "name a local state dict with --weights FILE, or train from noise with "
                "--weights none"
            ) from error
    network = build(weights=None, **untrained)
    if weights.is_dir():
        weights = _file_for(backbone, weights)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise EnvironmentUnusable(f"{weights}: no such weight file for {backbone}") from None
    except Exception as error:
        raise UsageError(
            f"{weights}: not a PyTorch state dict; expected what torch.save wrote of a {backbone}"
        ) from error
    if not isinstance(state, dict):
        raise UsageError(f"{weights}: not a PyTorch state dict but a {type(state).__name__}")
    # torchvision's own files of DenseNets are of a time when names held another point.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    state = {old.sub(r"\1\2.", name): tensor for name, tensor in state.items()}
    wanted = {k for k in network.state_dict() if not k.startswith(("fc.", "classifier."))}
    missing = sorted(k for k in wanted - set(state) if not k.endswith("num_batches_tracked"))
    if missing:
        raise UsageError(
            f"{weights}: not {backbone} weights; {len(missing)} of {len(wanted)} tensors are "
            f"missing, the first is {missing[0]!r}"
        )
    try:
        whole = network.state_dict()  # with the version of its format, which MNASNet insists on
        whole.update((name, tensor) for name, tensor in state.items() if name in wanted)
        network.load_state_dict(whole)
    except RuntimeError as error:
        raise UsageError(f"{weights}: tensors do not fit {backbone}: {error}") from error
    return network


@cache
def _classifiers() -> tuple[str, ...]:
    return tuple(tv.list_models(module=tv))


def _file_for(backbone: str, folder: Path) -> Path:
    """Such as resnet50-0676ba61.pth for resnet50."""
    found = [path for path in sorted(folder.glob("*.pth")) if _backbone_of(path) == backbone]
    if len(found) != 1:
        held = ", ".join(path.name for path in found) or "none"
        raise EnvironmentUnusable(
            f"{folder}: expected one weight file {backbone}*.pth in it, found {held}"
        )
    return found[0]


def _backbone_of(path: Path) -> str | None:
    """The longest name that fits: vgg16_bn-6c64b313.pth is of no vgg16."""
    begins = (n for n in _classifiers() if re.match(rf"{re.escape(n)}(?![a-zA-Z0-9])", path.stem))
    return max(begins, key=len, default=None)


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
    # The first two convolutions run at full size; the stem ends after the second block so that
    # the five maps lie at the same strides as a ResNet's.
    cuts = [blocks[13:23], blocks[23:33], blocks[33:43], blocks[43:44]]
    return Encoder(blocks[0:13], cuts, (128, 256, 512, 512, 512))


def _from_mobilenet_v2(net: nn.Module, head: bool) -> Encoder:
    assert isinstance(net, tv.MobileNetV2)
    blocks = net.features
    # Stages end in linear bottlenecks, so unlike a ResNet's these maps take both signs.
    return Encoder(
        blocks[0:2],
        [blocks[2:4], blocks[4:7], blocks[7:14], blocks[14:18]],
        (16, 24, 32, 96, 320),
        blocks[18] if head else None,
        1280 if head else None,
    )


def _replace(parent: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for module in parent.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
                return


def _from_googlenet(net: nn.Module) -> Encoder:
    assert isinstance(net, tv.GoogLeNet)
    # Max-pooling in ceil mode keeps the maps at exactly half the size for even sides.
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
