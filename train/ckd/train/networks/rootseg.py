"""RootSeg, the coarse segmentation network of CKDNet (paper section 3.1, code DeepLabV3+).

Suffixes: B batch, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ConvBnRelu, SpatialMean
from ckd.train.networks.encoder import Encoder
from ckd.train.networks.image_input import Shrink

#: Dilation of the three atrous branches. The encoder is not dilated, so the input of ASPP is 7x7 at
#: 224 px, and the two larger rates act as 1x1 convolutions; the paper's "output stride 16" is
#: nominal.
ASPP_RATES = (6, 12, 18)


class PooledBranch(nn.Module):
    """ASPP's image-level branch: pool, 1x1 convolution, ReLU, expand; BN last, as in the code."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.pool = SpatialMean()
        self.conv = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """One value per channel, expanded to the size of the input map."""
        pooled = F.relu(self.conv(self.pool(x_BCHW)))
        # Enlarging a 1x1 map bilinearly only repeats its value, as expand does.
        return torch.as_tensor(self.bn(pooled.expand(-1, -1, *x_BCHW.shape[2:])))


class RootSeg(nn.Module):
    """Coarse lesion logits, and the gates by which the encoder guides the classifier.

    Args:
        encoder: gives x0..x4.
        width: channels of ASPP and of the decoder (256 in the paper).
        low_width: channels that the stride-4 map is reduced to (48 in the paper).
        dropout: of whole channels, after ASPP and before the last convolution (0.5 in the code).
        shrink: makes the image that it works on of the one that it is given, if that is larger.
    """

    def __init__(
        self,
        encoder: Encoder,
        width: int = 256,
        low_width: int = 48,
        dropout: float = 0.5,
        shrink: Shrink | None = None,
    ) -> None:
        super().__init__()
        self.shrink = shrink or nn.Identity()
        self.encoder = encoder
        deep, low = encoder.channels[4], encoder.channels[1]
        self.aspp = nn.ModuleList(
            [
                ConvBnRelu(deep, width, kernel=1),
                *(ConvBnRelu(deep, width, dilation=rate) for rate in ASPP_RATES),
                PooledBranch(deep, width),
            ]
        )
        self.project = nn.Sequential(ConvBnRelu(5 * width, width, kernel=1), nn.Dropout2d(dropout))
        self.low = ConvBnRelu(low, low_width, kernel=1)
        self.decode = nn.Sequential(
            ConvBnRelu(width + low_width, width),
            ConvBnRelu(width, width),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, 1, 1),
        )
        for part in (self.aspp, self.project, self.low, self.decode):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, 1, H/4, W/4] and gates sigmoid(phi_l), l = 1..4, shaped as x1..x4.

        H and W are those of the image that the network works on.

        The logits have stride 4: the classifier enlarges them itself, which is exact, and sixteen
        times less data is passed on. Of phi the sigmoid is passed on: it is bounded and computed
        only once.
        """
        _, x1, x2, x3, x4 = self.encoder(self.shrink(image_BCHW))
        context = self.project(torch.cat([branch(x4) for branch in self.aspp], dim=1))
        context = F.interpolate(context, x1.shape[2:], mode="bilinear", align_corners=True)
        coarse_logits = self.decode(torch.cat([context, self.low(x1)], dim=1))
        return coarse_logits, *(torch.sigmoid(phi) for phi in (x1, x2, x3, x4))
