"""The fine network's decoder, with as much as possible computed before enlarging.

Suffixes: B batch, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.folds.aspp import scale_and_shift
from ckd.train.folds.batch_norm import fold_batch_norms
from ckd.train.networks.blocks import ConvBnRelu, ScSE
from ckd.train.networks.seg import AttentionBlock, EntangleKnowledge, SegDecoder, SegEncoder

#: From this many channels, four small interleaved convolutions are faster than one large one.
MIN_PHASE_CHANNELS = 32


class FoldedKnowledge(nn.Module):
    """h = ReLU(half + W mean), with mu, C and batch normalisation in W and in the other half."""

    def __init__(self, part: EntangleKnowledge) -> None:
        super().__init__()
        scale, _ = scale_and_shift(part.bn)
        conv = part.conv
        self.conv = nn.Conv2d(1, conv.out_channels, 3, padding=1, bias=False)
        self.conv.weight = nn.Parameter(
            conv.weight * (scale * part.mu * part.num_summed)[:, None, None, None]
        )

    def forward(self, image_half_BCHW: Tensor, mean_B1HW: Tensor) -> Tensor:
        """As `EntangleKnowledge`, from halves that are already normalised."""
        return torch.relu(image_half_BCHW + self.conv(mean_B1HW))


class FoldedScSE(nn.Module):
    """x * cSE + x * sSE as x * (cSE + sSE), with one pass over the map less."""

    def __init__(self, scse: ScSE) -> None:
        super().__init__()
        self.channel, self.spatial = scse.channel, scse.spatial

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Gate every element."""
        return torch.as_tensor(x_BCHW * (self.channel(x_BCHW) + self.spatial(x_BCHW)))


class FoldedJoinedScSE(nn.Module):
    """scSE of [enlarged, skip], computed from the map before it was enlarged.

    The spatial gate's 1x1 convolution commutes with repeating pixels, and the mean of a map with
    every pixel repeated is that of the map, so both read a quarter of the pixels.
    """

    def __init__(self, scse: ScSE, c_below: int) -> None:
        super().__init__()
        self.mean, *squeeze = scse.channel
        self.channel = nn.Sequential(*squeeze)
        joined = scse.spatial[0]
        assert isinstance(joined, nn.Conv2d)
        c_skip = joined.in_channels - c_below
        self.below = nn.Conv2d(c_below, joined.out_channels, 1)
        self.skip = nn.Conv2d(c_skip, joined.out_channels, 1, bias=False)
        below, skip = torch.split(joined.weight, [c_below, c_skip], dim=1)
        self.below.weight, self.below.bias = nn.Parameter(below), joined.bias
        self.skip.weight = nn.Parameter(skip)

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """The gated, joined map at the size of ``skip``."""
        means = [self.mean(x) for x in (below_BCHW, skip_BCHW)]
        channel_gate = self.channel(torch.cat(means, dim=1))
        spatial_gate = torch.sigmoid(_twice(self.below(below_BCHW)) + self.skip(skip_BCHW))
        joined = torch.cat([_twice(below_BCHW), skip_BCHW], dim=1)
        return torch.as_tensor(joined * (channel_gate + spatial_gate))


class PhaseConv(nn.Module):
    """3x3 convolution of a map enlarged twice by repetition, computed on the map itself.

    Output pixels of one parity depend on only 2x2 different pixels, so the taps that fall on the
    same pixel are added up. Four such kernels, interleaved, take 4/9 of the multiplications.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        # For each parity: which rows (and columns) of the kernel meet the earlier and later pixel.
        phases = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        self.weights = nn.ParameterList(
            torch.einsum("oiyx,ry,cx->oirc", conv.weight, down, across)
            for down in phases
            for across in phases
        )
        self.bias = conv.bias

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Twice the height and width of ``x``."""
        parts = []
        for phase, weight in enumerate(self.weights):
            down, across = divmod(phase, 2)
            padded = F.pad(x_BCHW, (1 - across, across, 1 - down, down))
            parts.append(F.conv2d(padded, weight, self.bias))
        return F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), 2)


class FoldedBlock(nn.Module):
    """`AttentionBlock` with its gate, and if faster its first convolution, before enlarging."""

    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        first, second = block.convs
        assert isinstance(first, ConvBnRelu)
        if isinstance(block.before, ScSE):
            self.before: nn.Module = FoldedJoinedScSE(block.before, block.c_below)
            self.first: nn.Module = first
        elif block.c_below >= MIN_PHASE_CHANNELS:
            self.before = nn.Identity()
            conv = first[0]
            assert isinstance(conv, nn.Conv2d)
            self.first = nn.Sequential(PhaseConv(conv), nn.ReLU())
        else:
            self.before = nn.Upsample(scale_factor=2.0, mode="nearest")
            self.first = first
        self.second = second
        self.after = FoldedScSE(block.after)

    def forward(self, below_BCHW: Tensor, skip: Tensor | None = None) -> Tensor:
        """Twice the height and width of ``below``."""
        x = self.before(below_BCHW) if skip is None else self.before(below_BCHW, skip)
        return torch.as_tensor(self.after(self.second(self.first(x))))


def fold_knowledge(encoder: SegEncoder, decoder: SegDecoder) -> None:
    """Normalise in the encoder's half instead of after the sum in the decoder, in place."""
    for index, part in enumerate(decoder.knowledge):
        assert isinstance(part, EntangleKnowledge)
        conv = encoder.entangle[index]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        scale, shift = scale_and_shift(part.bn)
        conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
        conv.bias = nn.Parameter(conv.bias * scale + shift)
        decoder.knowledge[index] = FoldedKnowledge(part)


def fold_decoder(decoder: SegDecoder) -> None:
    """Replace the decoder's blocks, in place."""
    fold_batch_norms(decoder)
    for index, block in enumerate(decoder.blocks):
        assert isinstance(block, AttentionBlock)
        decoder.blocks[index] = FoldedBlock(block)


def _twice(x_BCHW: Tensor) -> Tensor:
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")
