"""CLNet's fusion modules, with their first normalisation in the encoders' convolutions."""

from torch import nn

from ckd.train.folds.aspp import scale_and_shift
from ckd.train.networks.fusion import Fusion, FusionEncoder, FusionModule


def fold_fusion(encoders: list[FusionEncoder], fusion: Fusion) -> None:
    """Scale both halves, in place, and shift one: enlarging does not change a constant."""
    first, second = encoders
    for conv, other, level in zip(first.reduce, second.reduce, fusion.levels, strict=True):
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(other, nn.Conv2d)
        assert isinstance(level, FusionModule)
        assert isinstance(level.bn, nn.BatchNorm2d)
        scale, shift = scale_and_shift(level.bn)
        for half in (conv, other):
            half.weight *= scale[:, None, None, None]
        conv.bias = nn.Parameter(shift)
        level.bn = nn.Identity()
