"""Networks of timm, cut into a stem and four stages at strides 4, 8, 16 and 32.

A network can be cut if its features are a chain of modules, each of which takes the map of the one
before and nothing else, with maps at all five strides. This is not read off its class: the network
runs once on a blank image, and every module must have been handed the very tensor that the module
before it gave. So whatever can be cut computes what timm computes, of an image that is normalised
as timm does for that network: a stem begins with `HalfMeanInput` where that is not ImageNet's way.

timm would fetch weights from a model hub; it never does so here, see docs/training.md.

Suffixes: B batch, C channels, H rows, W columns.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn

from ckd.contract.errors import UsageError
from ckd.contract.imagenet import IMAGENET_MEAN_C, IMAGENET_STD_C
from ckd.train.networks.image_input import HalfMeanInput
from ckd.train.networks.pretrained import TIMM_FOLDER, Weights, load_weights

#: Before the name of a network that torchvision has too, and whose plain name means torchvision's.
PREFIX: Final = f"{TIMM_FOLDER}/"
STRIDES: Final = (2, 4, 8, 16, 32)
#: Side of the blank image; its map at stride 32 has four places.
_SIDE_PX: Final = 64
_HALF_C: Final = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Cut:
    """A network in pieces, as `ckd.train.networks.encoder.Encoder` takes them."""

    stem: nn.Sequential
    stages: tuple[nn.Sequential, ...]
    channels: tuple[int, int, int, int, int]
    head: nn.Sequential | None
    head_channels: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A module of the chain, the maps that it took and the one that it gave."""

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any


def cut_network(backbone: str, weights: Weights) -> Cut:
    """A network of timm in pieces.

    The head is what stands between the last map that a convolution over places made and the pooling
    (the last 1x1 convolution of EfficientNet, MobileNetV3 and V4). What follows the pooling is left
    out, as from torchvision's networks.

    Args:
        backbone: name of timm for which `is_known` holds.
        weights: None, a state dict in timm's names, or a folder of such files.

    Raises:
        UsageError: a network that cannot be cut, "imagenet" as weights, or a file of another one.
        EnvironmentUnusable: there is no such weight file.
    """
    network = timm.create_model(backbone.removeprefix(PREFIX), pretrained=False, num_classes=0)
    pieces, ends = _chain(network, backbone)
    renormalising = _renormalising(network, backbone)
    if weights == "imagenet":
        raise UsageError(
            f"weights of {backbone} come from a file: expected --weights FILE or FOLDER with a "
            "state dict in timm's names, got imagenet; or train from noise with --weights none"
        )
    if weights is not None:
        prefixes = tuple(f"{piece.name}." for piece in pieces)
        names = {key for key in network.state_dict() if key.startswith(prefixes)}
        load_weights(network, backbone, weights, names, _names())
    starts = [0, *(end + 1 for end in ends)]
    stem, *stages = (
        _joined(pieces[start : end + 1]) for start, end in zip(starts, ends, strict=False)
    )
    head = _joined(pieces[starts[-1] :])
    c0, c1, c2, c3, c4 = (int(pieces[end].output.shape[1]) for end in ends)
    return Cut(
        nn.Sequential(*renormalising, *stem),
        tuple(stages),
        (c0, c1, c2, c3, c4),
        head if len(head) else None,
        int(pieces[-1].output.shape[1]),
    )


def is_known(backbone: str) -> bool:
    """Whether timm has a network of that name, with or without `PREFIX`."""
    return backbone.removeprefix(PREFIX) in _names()


def near_names(name: str) -> list[str]:
    """Up to three names of timm that look like another one."""
    return difflib.get_close_matches(name.removeprefix(PREFIX), _names(), n=3)


def blocks_in_order() -> tuple[type[nn.Module], ...]:
    """timm's blocks that run their convolutions and normalisations in the order of their list."""
    from timm.layers.conv_bn_act import ConvNormAct
    from timm.models import _efficientnet_blocks as efficientnet
    from timm.models import resnet

    return (
        ConvNormAct, efficientnet.ConvBnAct, efficientnet.DepthwiseSeparableConv,
        efficientnet.EdgeResidual, efficientnet.InvertedResidual, resnet.BasicBlock,
        resnet.Bottleneck,
    )  # fmt: skip


@cache
def _names() -> frozenset[str]:
    return frozenset(timm.list_models())


def _renormalising(network: nn.Module, backbone: str) -> list[nn.Module]:
    """What takes a network's input from ImageNet's mean and deviation to those of its own weights.

    Its own are the weights that timm takes by default; the file that is given may be of others.
    """
    config: Any = network.pretrained_cfg
    mean_C, std_C = tuple(config["mean"]), tuple(config["std"])
    if (mean_C, std_C) == (IMAGENET_MEAN_C, IMAGENET_STD_C):
        return []
    if (mean_C, std_C) == (_HALF_C, _HALF_C):
        return [HalfMeanInput()]
    raise UsageError(
        f"{backbone} cannot be cut: its images have mean {mean_C} and deviation {std_C}, expected "
        "ImageNet's or 0.5; `ckd-train backbones` lists networks that can"
    )


def _chain(network: nn.Module, backbone: str) -> tuple[list[_Piece], list[int]]:
    """The modules of a network in running order, and which of them give x0..x4."""

    def cannot(why: str) -> UsageError:
        return UsageError(
            f"{backbone} cannot be cut: {why}; `ckd-train backbones` lists networks that can"
        )

    maps = getattr(network, "feature_info", None)
    if not isinstance(maps, list) or not hasattr(network, "forward_features"):
        raise cannot("timm does not tell where its maps are")
    by_stride = {info["reduction"]: info["module"] for info in maps}  # the last of each stride
    if not set(STRIDES) <= set(by_stride):
        strides = ", ".join(map(str, sorted(by_stride)))
        raise cannot(f"its maps have strides {strides}, expected 2, 4, 8, 16, 32")
    cuts = [by_stride[stride] for stride in STRIDES]
    image_BCHW = torch.zeros(1, 3, _SIDE_PX, _SIDE_PX)
    try:
        pieces, features = _run(network, cuts, image_BCHW)
    except Exception as error:  # whatever a network does with an image that it does not take
        first_line = str(error).partition("\n")[0]
        raise cannot(f"it does not take an image of {_SIDE_PX} px ({first_line})") from error
    links = [((image_BCHW,), "its input"), *(((p.output,), p.name) for p in pieces)]
    for (given, before), piece in zip(links, pieces, strict=False):
        if len(piece.inputs) != 1 or piece.inputs[0] is not given[0]:
            raise cannot(f"between {before} and {piece.name} it is no chain of modules")
    names = [piece.name for piece in pieces]
    if len(set(names)) < len(names) or not set(cuts) <= set(names):
        raise cannot("it does not run each of its modules once")
    if pieces[-1].output is not features:
        raise cannot(f"after {names[-1]} it is no chain of modules")
    ends = [names.index(cut) for cut in cuts]
    while _is_pointwise(pieces[ends[-1]].module) and _side(pieces[ends[-1] - 1]) == _side(
        pieces[ends[-1]]
    ):
        ends[-1] -= 1
    first = _joined(pieces[: ends[0] + 1])
    if sum(conv.in_channels == 3 for conv in first.modules() if isinstance(conv, nn.Conv2d)) != 1:
        raise cannot("not one convolution alone reads the image, to which the coarse map is added")
    sides = [_side(pieces[end]) for end in ends]
    if sides != [_SIDE_PX // stride for stride in STRIDES]:
        raise cannot(f"its maps of a {_SIDE_PX} px image have {sides} px")
    return pieces, ends


def _run(network: nn.Module, cuts: list[str], image_BCHW: Tensor) -> tuple[list[_Piece], Tensor]:
    """The modules that the features of a blank image ran through, in running order."""
    calls: list[_Piece] = []

    def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda module, inputs, output: calls.append(_Piece(name, module, inputs, output))

    hooks = [m.register_forward_hook(noting(name)) for name, m in _modules(network, cuts)]
    network.eval()
    try:
        with torch.no_grad():
            features: Tensor = network.forward_features(image_BCHW)  # type: ignore[operator]
    finally:
        network.train()
        for hook in hooks:
            hook.remove()
    return calls, features


def _modules(
    parent: nn.Module, cuts: list[str], prefix: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    """The largest modules that no cut goes through."""
    for name, module in parent.named_children():
        path = prefix + name
        if any(cut.startswith(f"{path}.") for cut in cuts):
            yield from _modules(module, cuts, f"{path}.")
        else:
            yield path, module


def _joined(pieces: Sequence[_Piece]) -> nn.Sequential:
    """Pieces in a row, those inside a piece too, so that folds see who follows whom."""
    row: list[nn.Module] = []
    for piece in pieces:
        row += piece.module if type(piece.module) is nn.Sequential else [piece.module]
    return nn.Sequential(*row)


def _is_pointwise(module: nn.Module) -> bool:
    """Whether a module computes every place by itself."""
    convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    return bool(convs) and all(conv.kernel_size == (1, 1) for conv in convs)


def _side(piece: _Piece) -> int:
    return int(piece.output.shape[-1])
