"""RootSeg: ASPP, the decoder, and the gates that it gives to the classifier.

Suffixes: B batch, C channels, H rows, W columns.
"""

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ConvBnRelu
from ckd.train.networks.rootseg import ASPP_RATES, PooledBranch, RootSeg
from ckd.train.systems.graph import System

if TYPE_CHECKING:
    from tests.train.networks.conftest import Randomise, Watch


def assert_close(got: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """By default for float32 on both sides and values of order one, summed in another order."""
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def centre_tap(branch: ConvBnRelu, x_BCHW: Tensor) -> Tensor:
    conv, bn, _ = branch
    assert isinstance(conv, nn.Conv2d)
    return F.relu(bn(F.conv2d(x_BCHW, conv.weight[:, :, 1:2, 1:2])))


@pytest.mark.parametrize(
    ("branch", "side", "pointwise"),
    [(1, 7, False), (2, 7, True), (3, 7, True), (2, 12, True), (2, 13, False), (3, 13, True)],
)
def test_a_rate_no_smaller_than_the_map_leaves_the_centre_tap(
    small: System, branch: int, side: int, pointwise: bool
) -> None:
    aspp = small.networks.get_submodule(f"rootseg.aspp.{branch}")
    assert isinstance(aspp, ConvBnRelu)
    x_BCHW = torch.randn(2, 512, side, side)
    difference = (aspp(x_BCHW) - centre_tap(aspp, x_BCHW)).abs().max()
    assert difference < 1e-4 if pointwise else difference > 0.1


def test_the_pooled_branch_normalises_last(randomised: "Randomise") -> None:
    branch, x_BCHW = randomised(PooledBranch(16, 8)), torch.randn(2, 16, 7, 7)
    pooled = F.relu(branch.conv(x_BCHW.mean(dim=(2, 3), keepdim=True)))
    expected = branch.bn(F.interpolate(pooled, (7, 7), mode="bilinear", align_corners=True))
    got = branch(x_BCHW)
    assert_close(got, expected)
    assert (got < 0).any()  # a ReLU behind the normalisation would show here


def test_the_pooled_branch_trains_on_a_single_image() -> None:
    # Normalised before it is spread, one value per channel would be refused.
    assert PooledBranch(16, 8).train()(torch.randn(1, 16, 7, 7)).isfinite().all()


def test_gates_are_sigmoids_of_the_coarse_encoders_maps(small: System, image_BHWC: Tensor) -> None:
    rootseg = small.networks["rootseg"]
    image_BCHW = small.image_input(image_BHWC)
    _, *maps = rootseg.get_submodule("encoder")(image_BCHW)
    _, *gates = rootseg(image_BCHW)
    for phi, gate in zip(maps, gates, strict=True):
        assert_close(gate, torch.sigmoid(phi))
        # phi is behind a ReLU, so a gate is never below one half and 1 + gate never near 1.
        assert (gate >= 0.5).all()
        assert (gate <= 1.0).all()
        assert (gate > 0.5).any()


def test_rootseg_joins_context_and_detail_in_the_order_of_the_code(
    small: System, image_BHWC: Tensor, watched: "Watch"
) -> None:
    rootseg = small.networks["rootseg"]
    assert isinstance(rootseg, RootSeg)
    image_BCHW = small.image_input(image_BHWC)
    with watched(rootseg.project) as projected, watched(rootseg.decode) as decoded:
        logits, *_ = rootseg(image_BCHW)
    _, x1, _, _, x4 = rootseg.encoder(image_BCHW)

    branches = torch.cat([branch(x4) for branch in rootseg.aspp], dim=1)
    assert_close(projected[0][0], branches)
    low, context = rootseg.low(x1), projected[0][1]
    up = F.interpolate(context, (16, 16), mode="bilinear", align_corners=True)
    joined = decoded[0][0]
    assert_close(joined[:, :8], up)
    assert_close(joined[:, 8:], low)
    assert torch.equal(logits, decoded[0][1])
    other = F.interpolate(context, (16, 16), mode="bilinear", align_corners=False)
    assert (joined[:, :8] - other).abs().max() > 0.01  # the corners matter here


def test_aspp_branches_come_in_the_order_of_their_rates(small: System) -> None:
    *atrous, pooled = small.networks.get_submodule("rootseg.aspp").children()
    convs = [next(m for m in branch.modules() if isinstance(m, nn.Conv2d)) for branch in atrous]
    assert [conv.kernel_size[0] for conv in convs] == [1, 3, 3, 3]
    assert [conv.dilation[0] for conv in convs] == [1, *ASPP_RATES]
    assert ASPP_RATES == (6, 12, 18)
    assert isinstance(pooled, PooledBranch)
