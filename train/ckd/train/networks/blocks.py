"""Building blocks shared by the sub-networks.

Suffixes: B batch, C channels, H rows, W columns, T = H*W.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBnRelu(nn.Sequential):
    """3x3 (or 1x1) convolution without bias, batch normalisation, ReLU; keeps the map's size."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                c_in,
                c_out,
                kernel,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                bias=False,
            ),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(ConvBnRelu(c_in, c_out), ConvBnRelu(c_out, c_out))


class SpatialMean(nn.Module):
    """Mean over the map, [B, C, 1, 1]. It sums in float32, as half-precision sums err from 2048."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The mean in the type of the input."""
        return x_BCHW.float().mean(dim=(2, 3), keepdim=True).to(x_BCHW.dtype)


class ChannelAttention(nn.Module):
    """Channel attention of CKDNet's classifier (after DANet's CAM), A -> delta * (S A) + A.

    S is the row-wise softmax of ``energy_sign`` * A A^T. The authors' code computes
    softmax(rowmax - E), which equals softmax(-E): channels attend to *dissimilar* channels. So the
    default is -1. The paper prints softmax(E), which is +1. delta starts at 0, where the block is
    the identity. Energies and softmax stay in float32, because half precision has an error of
    1.6e-3 at E of about 1000.
    """

    def __init__(self, energy_sign: Literal[-1, 1] = -1) -> None:
        super().__init__()
        self.energy_sign = energy_sign
        self.delta = nn.Parameter(torch.zeros(1))

    def forward(self, a_BCHW: Tensor) -> Tensor:
        """Re-weight the channels; the shape stays the same."""
        with torch.autocast(a_BCHW.device.type, enabled=False):
            a_BCT = a_BCHW.float().flatten(2)
            mixed_BCT = torch.bmm(self.weights(a_BCT), a_BCT)
            return (self.delta * mixed_BCT + a_BCT).view(a_BCHW.shape).to(a_BCHW.dtype)

    def weights(self, a_BCT: Tensor) -> Tensor:
        """S [B, C, C] of a float32 map: how much each channel attends to each other."""
        energy_BCC = torch.bmm(a_BCT, a_BCT.transpose(1, 2))
        return torch.softmax(self.energy_sign * energy_BCC, dim=-1)


class ClassHead(nn.Module):
    """Class logits from one or several maps: their means over places, dropout, a linear layer.

    With ``gives_features`` it also gives the joined means, [B, C], as an output or for other
    networks to learn from. With ``gives_map`` it also gives the class activation map (Zhou et al.
    2016): what each place adds to each logit. The linear layer and the mean commute, so the map's
    mean over places is the logit less its bias. With several maps this holds if each is enlarged by
    a whole factor, which does not change its mean.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.pool = SpatialMean()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(sum(self.channels), num_classes)
        self.gives_map = False
        self.gives_features = False

    def forward(self, *maps_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, K], then on request the map [B, K, H, W] and the features [B, C]."""
        pooled_BC = torch.cat([self.pool(x).flatten(1) for x in maps_BCHW], dim=1)
        outputs = [self.fc(self.dropout(pooled_BC))]
        if self.gives_map:
            outputs.append(self.class_map(*maps_BCHW))
        if self.gives_features:
            outputs.append(pooled_BC)
        return tuple(outputs)

    def class_map(self, *maps_BCHW: Tensor) -> Tensor:
        """The class activation map [B, K, H, W] at the size of the largest map."""
        size = max(tuple(x.shape[2:]) for x in maps_BCHW)
        kernels = torch.split(self.fc.weight, list(self.channels), dim=1)
        parts = [F.conv2d(x, w[..., None, None]) for x, w in zip(maps_BCHW, kernels, strict=True)]
        total, *rest = [resized(part, size) for part in parts]
        for part in rest:
            total = total + part
        return total


def resized(x_BCHW: Tensor, size_HW: Sequence[int]) -> Tensor:
    """The map at ``size_HW``, bilinear, corners not aligned; the same tensor if it has that size.

    Down to half the side every element counts, below that some would be passed over.
    """
    if tuple(x_BCHW.shape[2:]) == tuple(size_HW):
        return x_BCHW
    return F.interpolate(x_BCHW, tuple(size_HW), mode="bilinear", align_corners=False)


def initialise(parts: nn.Module, draw: Callable[..., Tensor]) -> None:
    """Draw the kernels of all convolutions by a function of `torch.nn.init`, and set biases to 0.

    ``draw`` is `kaiming_normal_` or `kaiming_uniform_`; it is told that a ReLU follows.
    """
    for module in parts.modules():
        if isinstance(module, nn.Conv2d):
            draw(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class ChannelGate(nn.Sequential):
    """The gates of squeeze and excitation (Hu et al. 2018), [B, C, 1, 1] between 0 and 1."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        squeezed = max(channels // reduction, 1)
        super().__init__(
            SpatialMean(),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )


class ScSE(nn.Module):
    """Channel and spatial squeeze and excitation as CKDNet uses it: x*cSE + x*sSE.

    ``spatial="full"`` is the authors' code: the spatial gate is a full C -> C 1x1 convolution.
    ``"single"`` is Roy et al.'s C -> 1, which drops 13.9 M parameters and 7.5 GMAC from the
    ResNet101 network; weights do not carry over from one to the other.
    """

    def __init__(
        self, channels: int, spatial: Literal["full", "single"] = "full", reduction: int = 16
    ) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels if spatial == "full" else 1, 1), nn.Sigmoid()
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Gate every element; the result lies in [0, 2x] for x >= 0."""
        channel_gate: Tensor = self.channel(x_BCHW)
        spatial_gate: Tensor = self.spatial(x_BCHW)
        return x_BCHW * channel_gate + x_BCHW * spatial_gate
