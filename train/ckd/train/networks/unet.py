"""The U-Net of Ronneberger et al. 2015 as CLNet uses it: an encoder and a decoder.

Differences from that paper: convolutions keep the map's size and are batch-normalised, and the
decoder enlarges bilinearly, as CLNet's paper says, where the original learns to enlarge.

Suffixes: B batch, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ckd.train.networks.blocks import DoubleConv, initialise, resized
from ckd.train.networks.encoder import Encoder

#: Channels of the five levels.
Widths = tuple[int, int, int, int, int]


def unet_encoder(widths: Widths) -> Encoder:
    """An encoder with maps at strides 1 to 16. It has no published weights, so all of it is new."""
    stages = [
        nn.Sequential(nn.MaxPool2d(2), DoubleConv(above, below))
        for above, below in pairwise(widths)
    ]
    encoder = Encoder(nn.Sequential(DoubleConv(3, widths[0])), stages, widths, stride=1)
    encoder.fresh += [encoder.stem, encoder.stages]
    initialise(encoder, nn.init.kaiming_normal_)
    return encoder


class UNetDecoder(nn.Module):
    """From the deepest map up: enlarge, join the map of that level, two convolutions.

    Args:
        widths: channels of the input maps, and of the decoder's maps at the same levels.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            DoubleConv(below + here, here) for below, here in pairwise(reversed(widths))
        )

    def forward(self, maps_BCHW: Sequence[Tensor]) -> Tensor:
        """A map at the largest map's size; ``maps_BCHW`` are ordered from largest to deepest."""
        *skips, y = maps_BCHW
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            y = block(torch.cat([resized(y, skip.shape[2:]), skip], dim=1))
        return y
