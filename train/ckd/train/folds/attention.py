"""The classifier's channel attention, for classifiers that use only its mean over the map.

Suffixes: B batch, C channels, H rows, W columns, T = H*W.
"""

import torch
from torch import Tensor, nn

from ckd.train.networks.blocks import ChannelAttention
from ckd.train.networks.cls import Cls


class PooledAttention(nn.Module):
    """Mean over the map of `ChannelAttention`: delta * (S a) + a with a the mean of A.

    Pooling is linear, so S multiplies one vector instead of the map.
    """

    def __init__(self, attention: ChannelAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, a_BCHW: Tensor) -> Tensor:
        """[B, C, 1, 1]; energies and softmax in float32 as in `ChannelAttention`."""
        a_BCT = a_BCHW.float().flatten(2)
        mean_BC1 = a_BCT.mean(dim=2, keepdim=True)
        mixed_BC1 = torch.bmm(self.attention.weights(a_BCT), mean_BC1)
        pooled_BC1 = self.attention.delta * mixed_BC1 + mean_BC1
        return pooled_BC1[..., None].to(a_BCHW.dtype)


def fold_channel_attention(cls: Cls) -> None:
    """Replace the attention, in place: by an identity if delta is 0, by its mean if that suffices.

    The mean does not suffice for a class map, nor for MobileNetV2's head, which stands between
    attention and pooling and is not linear; the attention then stays.
    """
    attention = cls.attention
    if attention.delta.item() == 0.0:
        cls.attention = nn.Identity()  # type: ignore[assignment]
    elif isinstance(cls.encoder.head, nn.Identity) and not cls.classify.gives_map:
        cls.attention = PooledAttention(attention)  # type: ignore[assignment]
