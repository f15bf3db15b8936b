"""CKD-Cls, the classifier, guided by the coarse segmentation (paper section 3.2).

Suffixes: B batch, C channels, H rows, W columns, K classes.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ChannelAttention, ClassHead, resized
from ckd.train.networks.encoder import Encoder, add_input_channel


class Cls(nn.Module):
    """Entangle-Cls between the encoder's stages, channel attention, pooling and a linear layer.

    Args:
        encoder: takes RGB; its stem is widened here for the coarse probability map.
        num_classes: K.
        stem_bn: "fresh" as in the authors' code, or "imagenet" to keep the statistics.
        energy_sign: see `ChannelAttention`.
        dropout: before the linear layer (none in the paper).
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        stem_bn: Literal["fresh", "imagenet"] = "fresh",
        energy_sign: Literal[-1, 1] = -1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        add_input_channel(encoder, fresh_bn=stem_bn == "fresh")
        self.encoder = encoder
        self.attention = ChannelAttention(energy_sign)
        self.classify = ClassHead((encoder.head_channels,), num_classes, dropout)

    def forward(
        self, image_BCHW: Tensor, coarse_logits_B1hw: Tensor, *gates: Tensor
    ) -> tuple[Tensor, ...]:
        """Class logits [B, K] and the channel means of f_1..f_4, each [B, 1, H/2^(l+1), W/2^(l+1)].

        Entangle-Cls: the input of stage l+1 is f_l * (1 + sigmoid(phi_l)). CKD-Seg receives the
        *ungated* f_l and uses only its sum over channels. Passing the mean instead is exact (the
        consumer multiplies by C) and stays in the range of half precision. Gates of a coarse
        network that works on an image of another size are brought to the size of f_l.
        """
        coarse = F.interpolate(
            coarse_logits_B1hw, image_BCHW.shape[2:], mode="bilinear", align_corners=True
        )
        x = self.encoder.stem(torch.cat([image_BCHW, torch.sigmoid(coarse)], dim=1))
        means = []
        for stage, gate in zip(self.encoder.stages, gates, strict=True):
            f = stage(x)
            means.append(f.float().mean(dim=1, keepdim=True).to(f.dtype))
            x = f * (1.0 + resized(gate, f.shape[2:]))
        return *self.classify(self.encoder.head(self.attention(x))), *means
