"""CLNet's fusion modules, which join the maps of two encoders (paper section 2.3).

FM_i enlarges the smaller of the two maps of level i to the size of the larger, joins them and
reduces their channels by a 1x1 convolution. That convolution is linear and commutes with bilinear
enlarging: W [up(c), s] = up(W_c c) + W_s s. So each encoder computes its own term at its own size
(`FusionEncoder`), in parallel to the other one, and the tensors passed to the fusion are smaller by
a third. This split is exact.

Suffixes: B batch, C channels, H rows, W columns, K classes; index i = 0..4 counts levels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ChannelGate, ClassHead, DoubleConv, initialise, resized
from ckd.train.networks.encoder import Encoder
from ckd.train.networks.unet import UNetDecoder, Widths


class FusionEncoder(nn.Module):
    """An encoder and its half of the 1x1 convolution of each fusion module.

    Args:
        encoder: giving x0..x4.
        other_channels: channels of the other encoder's maps. They count towards the fan-in of the
            joined kernels, of which the kernels here are slices.
        widths: of the fusion modules.
    """

    def __init__(self, encoder: Encoder, other_channels: Sequence[int], widths: Widths) -> None:
        super().__init__()
        self.encoder = encoder
        self.reduce = nn.ModuleList(
            nn.Conv2d(channels, width, 1, bias=False)
            for channels, width in zip(encoder.channels, widths, strict=True)
        )
        for conv, other in zip(self.reduce, other_channels, strict=True):
            assert isinstance(conv, nn.Conv2d)
            nn.init.normal_(conv.weight, std=math.sqrt(2.0 / (conv.in_channels + other)))

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """W x_i for each level, before the other half, batch normalisation and ReLU."""
        maps = self.encoder(image_BCHW)
        return tuple(conv(x) for conv, x in zip(self.reduce, maps, strict=True))


class FusionModule(nn.Module):
    """The rest of FM_i after both halves: addition, squeeze and excitation, two convolutions.

    The paper gives neither the reduction of squeeze and excitation (16 here, as in the paper of
    that block) nor the number of convolutions.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn: nn.Module = nn.BatchNorm2d(width)
        self.gate = ChannelGate(width)
        self.convs = DoubleConv(width, width)

    def forward(self, cls_half_BCHW: Tensor, seg_half_BCHW: Tensor) -> Tensor:
        """The fused map at the size of the larger half."""
        halves = (cls_half_BCHW, seg_half_BCHW)
        size = max(tuple(half.shape[2:]) for half in halves)
        first, second = (resized(half, size) for half in halves)
        x = F.relu(self.bn(first + second))
        return torch.as_tensor(self.convs(x * self.gate(x)))


class Fusion(nn.Module):
    """All fusion modules, the classifier over all of them, and the decoder whose skips they are.

    Paper, Eq. 1: scores = W [GAP(FM_0), ..., GAP(FM_4)]; its Eq. 4 is the decoder.

    Args:
        widths: of the fusion modules and the decoder.
        num_classes: K.
        stride: of the largest fused map; the mask is enlarged by it at the end.
    """

    def __init__(self, widths: Widths, num_classes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.levels = nn.ModuleList(FusionModule(width) for width in widths)
        self.decode = UNetDecoder(widths)
        self.out = nn.Conv2d(widths[0], 1, 1)
        initialise(self, nn.init.kaiming_normal_)
        self.classify = ClassHead(widths, num_classes)

    def forward(self, *halves: Tensor) -> tuple[Tensor, ...]:
        """Class logits [B, K] and lesion logits [B, 1, H, W] at the size of the image.

        Args:
            halves: five of the classification encoder, then five of the segmentation encoder.
        """
        of_cls, of_seg = halves[: len(self.levels)], halves[len(self.levels) :]
        maps = [fm(c, s) for fm, c, s in zip(self.levels, of_cls, of_seg, strict=True)]
        mask_logits = self.out(self.decode(maps))
        height, width = mask_logits.shape[2:]
        size = (height * self.stride, width * self.stride)
        return *self.classify(*maps), resized(mask_logits, size)
