"""One network for masks and labels, after Yang et al. 2017 (arXiv 1703.01025).

Only the abstract of that work was available to us: one network that outlines a lesion and answers
two separate questions, whether it is a melanoma and whether it is a seborrheic keratosis. Encoder,
decoder and losses here are our own design, not a reproduction.

Suffixes: B batch, C channels, H rows, W columns, K labels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ClassHead, DoubleConv
from ckd.train.networks.encoder import Encoder


class DecoderBlock(nn.Module):
    """Enlarge by repeating pixels, join the encoder's map of that size, two convolutions.

    Args:
        c_below: channels of the map that is enlarged.
        c_skip: channels of the encoder's map; 0 at the size of the image, where it has no map.
        c_out: channels of the output.
    """

    def __init__(self, c_below: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.convs = DoubleConv(c_below + c_skip, c_out)

    def forward(self, below_BCHW: Tensor, skip: Tensor | None = None) -> Tensor:
        """[B, c_out, 2 H, 2 W]; the enlarged map comes before the skip."""
        x = F.interpolate(below_BCHW, scale_factor=2.0, mode="nearest")
        return torch.as_tensor(self.convs(x if skip is None else torch.cat([x, skip], dim=1)))


def decoder_blocks(channels: Sequence[int], widths: Sequence[int]) -> nn.ModuleList:
    """The blocks of a U-Net's decoder, from the deepest map of the encoder up to the image.

    Args:
        channels: of the encoder's maps, the largest first.
        widths: of the blocks, the deepest first; the last one is at the size of the image, where
            the encoder has no map.
    """
    *skips, deepest = channels
    return nn.ModuleList(
        DecoderBlock(below, skip, out)
        for (below, out), skip in zip(
            pairwise((deepest, *widths)), (*reversed(skips), 0), strict=True
        )
    )


def decoded(blocks: nn.ModuleList, maps_BCHW: Sequence[Tensor]) -> Tensor:
    """The last map of `decoder_blocks`, from the encoder's maps, the largest first."""
    *skips, x = maps_BCHW
    for block, skip in zip(blocks, (*reversed(skips), None), strict=True):
        x = block(x, skip)
    return x


class MultiTaskNet(nn.Module):
    """A shared encoder, a U-Net decoder for the mask and a yes/no answer for each label.

    The answers are independent: one linear layer of K rows is K linear units, each with its own
    sigmoid, because rows share no weight. All may be low if the lesion is of none of the labels.

    Args:
        encoder: gives five maps at strides 2 to 32.
        num_labels: K.
        widths: channels of the decoder at strides 16, 8, 4, 2 and 1.
    """

    def __init__(
        self, encoder: Encoder, num_labels: int, widths: tuple[int, int, int, int, int]
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classify = ClassHead((encoder.head_channels,), num_labels)
        self.decode = decoder_blocks(encoder.channels, widths)
        self.out = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, K], and mask logits [B, 1, H, W] at the size of the image."""
        maps = self.encoder(image_BCHW)
        class_outputs = self.classify(self.encoder.head(maps[-1]))
        return *class_outputs, self.out(decoded(self.decode, maps))
