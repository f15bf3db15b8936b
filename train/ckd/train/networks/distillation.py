"""Modules that SSD-KD trains besides teacher and student; none of them is deployed.

Suffixes: B batch, C channels, H rows, W columns.
"""

from torch import Tensor, nn

from ckd.train.networks.blocks import SpatialMean


class ConvReg(nn.Sequential):
    """Maps a student's channels to its teacher's (regressor of FitNets, Romero et al. 2015).

    1x1 convolution with bias, batch normalisation, ReLU. The authors choose other kernels and
    strides if the maps differ in size; here the size is kept.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(
            nn.Conv2d(student_channels, teacher_channels, 1),
            nn.BatchNorm2d(teacher_channels),
            nn.ReLU(inplace=True),
        )


class EmbeddingHead(nn.Module):
    """A map's mean over places through two linear layers with a ReLU between, C to C to C.

    The space in which SSD-KD's self-supervision compares views (after SSKD, Xu et al. 2020).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = SpatialMean()
        self.layers = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )

    def forward(self, map_BCHW: Tensor) -> Tensor:
        """The embedding [B, C]."""
        embedding_BC: Tensor = self.layers(self.pool(map_BCHW).flatten(1))
        return embedding_BC
