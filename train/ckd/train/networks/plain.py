"""A classifier and a segmentation network that nothing guides, for comparison with a cascade.

They have the encoder of the cascade, and beside it only what such a network cannot do without, so
that a cascade which is no better than these does not earn its guidance.

Suffixes: B batch, C channels, H rows, W columns, K labels.
"""

from torch import Tensor, nn

from ckd.train.networks.blocks import ClassHead
from ckd.train.networks.encoder import Encoder
from ckd.train.networks.multitask import decoded, decoder_blocks

#: Channels of the decoder at strides 16, 8, 4, 2 and 1.
Widths = tuple[int, int, int, int, int]


class PlainClassifier(nn.Module):
    """The encoder, its head, the mean over places, dropout and a linear layer.

    Args:
        encoder: with the ImageNet network's own head.
        num_classes: K.
        dropout: before the linear layer.
    """

    def __init__(self, encoder: Encoder, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.classify = ClassHead((encoder.head_channels,), num_classes, dropout)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, K], and what `ClassHead` gives on request."""
        outputs: tuple[Tensor, ...] = self.classify(self.encoder.head(self.encoder(image_BCHW)[-1]))
        return outputs


class PlainUNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) on the encoder: enlarge, join, two convolutions.

    Args:
        encoder: gives five maps at strides 2 to 32.
        widths: channels of the decoder.
    """

    def __init__(self, encoder: Encoder, widths: Widths) -> None:
        super().__init__()
        self.encoder = encoder
        self.decode = decoder_blocks(encoder.channels, widths)
        self.out = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Mask logits [B, 1, H, W] at the size of the image."""
        logits_B1HW: Tensor = self.out(decoded(self.decode, self.encoder(image_BCHW)))
        return logits_B1HW
