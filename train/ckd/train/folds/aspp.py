"""RootSeg's context module, for the size of map that it gets.

Suffixes: B batch, C channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn

from ckd.train.folds.batch_norm import fold_batch_norms
from ckd.train.networks.blocks import ConvBnRelu
from ckd.train.networks.rootseg import PooledBranch, RootSeg


class FoldedAspp(nn.Module):
    """The five branches and their projection.

    An atrous tap that always falls outside the map multiplies padding only. At a rate of at least
    the map's side only the centre tap is left, and the branch is a 1x1 convolution. Those branches
    share one convolution. The pooled branch gives one value per channel, so the projection computes
    it once an image, not once a pixel, and its batch normalisation is a part of that product.
    """

    def __init__(self, rootseg: RootSeg, deep_px: int) -> None:
        super().__init__()
        *branches, pooled = rootseg.aspp
        convs = [_conv(branch) for branch in branches]
        centred = [_centre_tap(conv) if conv.dilation[0] >= deep_px else conv for conv in convs]
        pointwise = [i for i, conv in enumerate(centred) if conv.kernel_size == (1, 1)]
        atrous = [i for i in range(len(centred)) if i not in pointwise]
        self.pointwise = _stacked([centred[i] for i in pointwise])
        self.atrous = nn.ModuleList(centred[i] for i in atrous)

        project = _conv(rootseg.project[0])
        width = convs[0].out_channels
        slices = torch.split(project.weight, width, dim=1)
        order = [slices[i] for i in (*pointwise, *atrous)]
        self.project = nn.Conv2d(width * len(order), project.out_channels, 1, bias=False)
        self.project.weight = nn.Parameter(torch.cat(order, dim=1))
        assert isinstance(pooled, PooledBranch)
        scale, shift = scale_and_shift(pooled.bn)
        once = slices[-1][:, :, 0, 0]
        self.pooled = nn.Sequential(pooled.pool, pooled.conv)
        self.spread = nn.Conv2d(width, project.out_channels, 1)
        self.spread.weight = nn.Parameter((once * scale)[..., None, None])
        assert project.bias is not None
        self.spread.bias = nn.Parameter(project.bias + once @ shift)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Projected context, as RootSeg's ``project`` gives it."""
        maps = [torch.relu(self.pointwise(x_BCHW))]
        maps += [torch.relu(conv(x_BCHW)) for conv in self.atrous]
        once = self.spread(torch.relu(self.pooled(x_BCHW)))
        joined = torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]
        return torch.relu(self.project(joined) + once)


def fold_aspp(rootseg: RootSeg, deep_px: int) -> None:
    """Replace branches and projection, in place.

    Args:
        rootseg: in evaluation mode.
        deep_px: side of the map that the branches get.
    """
    fold_batch_norms(rootseg)
    rootseg.aspp, rootseg.project = (
        nn.ModuleList([FoldedAspp(rootseg, deep_px)]),
        nn.Sequential(),  # the module above includes the projection
    )


def scale_and_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation in evaluation mode as y = scale * x + shift, per channel."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return scale, bn.bias - scale * bn.running_mean


def _conv(block: nn.Module) -> nn.Conv2d:
    assert isinstance(block, ConvBnRelu)
    conv = block[0]
    assert isinstance(conv, nn.Conv2d)
    return conv


def _centre_tap(conv: nn.Conv2d) -> nn.Conv2d:
    row, column = (side // 2 for side in conv.kernel_size)
    centre = nn.Conv2d(conv.in_channels, conv.out_channels, 1)
    centre.weight = nn.Parameter(conv.weight[:, :, row : row + 1, column : column + 1])
    centre.bias = conv.bias
    return centre


def _stacked(convs: list[nn.Conv2d]) -> nn.Conv2d:
    """1x1 convolutions of the same input as one."""
    stacked = nn.Conv2d(convs[0].in_channels, sum(conv.out_channels for conv in convs), 1)
    stacked.weight = nn.Parameter(torch.cat([conv.weight for conv in convs]))
    stacked.bias = nn.Parameter(torch.cat([c.bias for c in convs if c.bias is not None]))
    return stacked
