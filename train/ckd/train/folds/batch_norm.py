"""Batch normalisation as a part of the convolution before it.

ONNX export would fold it too, but after the weights were cast to half precision. Computed in
float32, the fold keeps a half-precision network about as exact as its weights.
"""

import sys
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.googlenet import BasicConv2d as GoogLeNetConv
from torchvision.models.inception import BasicConv2d as InceptionConv
from torchvision.models.resnet import BasicBlock, Bottleneck

#: Modules whose convolutions and normalisations run in the order in which they are listed.
_IN_ORDER: tuple[type[nn.Module], ...] = (
    nn.Sequential,
    BasicBlock,
    Bottleneck,
    GoogLeNetConv,
    InceptionConv,
)


def fold_batch_norms(network: nn.Module) -> None:
    """Fuse, in place, in every parent known to run convolution and normalisation in turn."""
    in_order = _IN_ORDER
    if "timm" in sys.modules:
        from ckd.train.networks.timm_encoder import blocks_in_order

        in_order += blocks_in_order()
    for parent in network.modules():
        if not isinstance(parent, in_order):
            continue
        for (name, conv), (bn_name, bn) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, bn))
                # timm's normalisation includes the activation, which is left in its place.
                setattr(parent, bn_name, getattr(bn, "act", nn.Identity()))
