"""CKD-Seg, the fine segmentation network, guided by the classifier (paper section 3.3).

It is two sub-networks here. `SegEncoder` takes only the photograph and can run in parallel to
RootSeg and CKD-Cls; `SegDecoder` adds the knowledge of the classifier. They are split inside
Entangle-Seg, whose 3x3 convolution is linear: W [g, mu*S] = W_g g + mu * W_S S. The encoder
computes the first term.

Suffixes: B batch, C channels, H rows, W columns; index l = 1..4 counts encoder stages.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import DoubleConv, ScSE, initialise, resized
from ckd.train.networks.encoder import Encoder
from ckd.train.networks.image_input import Shrink


class SegEncoder(nn.Module):
    """Encoder and the photograph's half of the four Entangle-Seg convolutions.

    Args:
        encoder: takes RGB.
        widths: output channels of Entangle-Seg 1..4; the paper keeps the encoder's channels.
        shrink: makes the image that it works on of the one that it is given, if that is larger.
    """

    def __init__(
        self,
        encoder: Encoder,
        widths: Sequence[int] | None = None,
        shrink: Shrink | None = None,
    ) -> None:
        super().__init__()
        self.shrink = shrink or nn.Identity()
        self.encoder = encoder
        self.widths = tuple(widths or encoder.channels[1:])
        self.entangle = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1)
            for channels, width in zip(encoder.channels[1:], self.widths, strict=True)
        )
        # As in the authors' code, all kernels outside the encoder are Kaiming-uniform.
        initialise(self.entangle, nn.init.kaiming_uniform_)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """g0 [B, C0, H/2, W/2] and W_g g_l + b, before the classifier's term, BN and ReLU."""
        g0, *maps = self.encoder(self.shrink(image_BCHW))
        return g0, *(conv(g) for conv, g in zip(self.entangle, maps, strict=True))


class EntangleKnowledge(nn.Module):
    """The classifier's half of Entangle-Seg: h_l = ReLU(BN(W_g g_l + mu_l * W_S S_l)).

    S_l is the sum over the classifier's ``num_summed`` channels, of which the mean is passed in. mu
    starts at 0, so the network starts without knowledge of the diagnosis.
    """

    def __init__(self, width: int, num_summed: int) -> None:
        super().__init__()
        self.num_summed = num_summed
        self.mu = nn.Parameter(torch.zeros(1))
        self.conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, image_half_BCHW: Tensor, mean_B1HW: Tensor) -> Tensor:
        """Add the classifier's term; the shape is that of the first argument."""
        summed = self.conv(mean_B1HW * (self.mu * self.num_summed))
        return F.relu(self.bn(image_half_BCHW + summed))


class AttentionBlock(nn.Module):
    """SpatialChannelAtten: enlarge, join the skip, scSE, two convolutions, scSE, dropout.

    A block without a skip (the last one) has no first scSE, as in the authors' code.
    """

    def __init__(
        self,
        c_below: int,
        c_skip: int,
        c_out: int,
        spatial: Literal["full", "single"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.c_below = c_below
        self.before = ScSE(c_below + c_skip, spatial) if c_skip else nn.Identity()
        self.convs = DoubleConv(c_below + c_skip, c_out)
        self.after = ScSE(c_out, spatial)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, below_BCHW: Tensor, skip: Tensor | None = None) -> Tensor:
        """A map of twice the height and width of ``below_BCHW``."""
        x = F.interpolate(below_BCHW, scale_factor=2.0, mode="nearest")
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return torch.as_tensor(self.dropout(self.after(self.convs(self.before(x)))))


class SegDecoder(nn.Module):
    """Entangle-Seg's second half and the decoder up to full-size lesion logits.

    Args:
        encoder: the `SegEncoder` whose outputs it takes.
        summed_channels: channels C_l of the classifier's f_1..f_4, over which S_l sums.
        widths: output channels of the four attention blocks and the last one; by default those of
            the paper, (C3, C2, C1, C0, 32).
        scse: form of the spatial gate, see `ScSE`.
        dropout: of whole channels after each block (0.2 in the code).
    """

    def __init__(
        self,
        encoder: SegEncoder,
        summed_channels: Sequence[int],
        widths: Sequence[int] | None = None,
        scse: Literal["full", "single"] = "full",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        c0, c1, c2, c3, _ = encoder.encoder.channels
        d1, d2, d3, d4, d5 = widths or (c3, c2, c1, c0, 32)
        e1, e2, e3, e4 = encoder.widths
        self.knowledge = nn.ModuleList(
            EntangleKnowledge(width, summed)
            for width, summed in zip(encoder.widths, summed_channels, strict=True)
        )
        sizes = [(e4, e3, d1), (d1, e2, d2), (d2, e1, d3), (d3, c0, d4), (d4, 0, d5)]
        self.blocks = nn.ModuleList(AttentionBlock(*size, scse, dropout) for size in sizes)
        self.out = nn.Conv2d(d5, 1, 1)
        initialise(self, nn.init.kaiming_uniform_)
        # W_S is a slice of the authors' joined kernel; its fan-in includes the photograph's maps.
        with torch.no_grad():
            for part, channels in zip(self.knowledge, encoder.encoder.channels[1:], strict=True):
                part.get_submodule("conv").get_parameter("weight").div_(math.sqrt(channels + 1))

    def forward(self, g0: Tensor, *halves_and_means: Tensor) -> Tensor:
        """Lesion logits [B, 1, H, W] from g0, W_g g_1..4 and the four channel means.

        H and W are twice those of g0. The means are brought to the size of the other maps if the
        classifier works on an image of another size.
        """
        halves, means = halves_and_means[:4], halves_and_means[4:]
        h1, h2, h3, h4 = (
            entangle(half, resized(mean, half.shape[2:]))
            for entangle, half, mean in zip(self.knowledge, halves, means, strict=True)
        )
        y = h4
        for block, skip in zip(self.blocks, (h3, h2, h1, g0, None), strict=True):
            y = block(y, skip)
        return torch.as_tensor(self.out(y))
