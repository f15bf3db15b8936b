"""CKD-Seg: the split of Entangle-Seg, the attention blocks, and how new layers start.

Suffixes: B batch, C channels, H rows, W columns.
"""

import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ChannelAttention, ScSE
from ckd.train.networks.encoder import Encoder, build_encoder
from ckd.train.networks.rootseg import RootSeg
from ckd.train.networks.seg import AttentionBlock, EntangleKnowledge, SegDecoder, SegEncoder
from ckd.train.systems.graph import System

if TYPE_CHECKING:
    from tests.train.networks.conftest import Randomise, Watch


def assert_close(got: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """By default for float32 on both sides and values of order one, summed in another order."""
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def test_split_entangle_equals_one_convolution_over_the_joined_maps(
    randomised: "Randomise",
) -> None:
    encoder = Encoder(nn.Sequential(), [nn.Identity()] * 4, (3, 5, 6, 7, 8))
    first = SegEncoder(encoder, (9, 10, 11, 12)).double()
    conv = first.entangle[0]
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    nn.init.normal_(conv.bias)
    second = randomised(EntangleKnowledge(9, num_summed=40)).double()
    nn.init.constant_(second.mu, -1.3)
    g, f = torch.randn(2, 5, 8, 8).double(), torch.rand(2, 40, 8, 8).double()

    joined = nn.Conv2d(6, 9, 3, padding=1).double()
    with torch.no_grad():
        joined.weight.copy_(torch.cat([conv.weight, second.conv.weight], dim=1))
        assert joined.bias is not None
        joined.bias.copy_(conv.bias)
    summed = f.sum(dim=1, keepdim=True)
    expected = F.relu(second.bn(joined(torch.cat([g, second.mu * summed], dim=1))))
    # In doubles the split is exact but for the order of sums.
    got = second(conv(g), f.mean(dim=1, keepdim=True))
    assert_close(got, expected, rtol=1e-10, atol=1e-10)
    # The order of the classifier's channels cannot matter: only their sum arrives.
    shuffled = second(conv(g), f[:, torch.randperm(40)].mean(dim=1, keepdim=True))
    assert_close(got, shuffled, rtol=1e-10, atol=1e-10)


def seg_inputs(system: System, seed: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    tensors = system(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=rng))
    node = next(node for node in system.nodes if node.name == "seg_decoder")
    return [tensors[name] for name in node.inputs]


def test_without_mu_the_mask_ignores_the_classifier(small: System) -> None:
    decoder = small.networks["seg_decoder"]
    *image_half, m1, m2, m3, m4 = seg_inputs(small, 0)
    others = [torch.rand_like(mean) for mean in (m1, m2, m3, m4)]
    with_mu = decoder(*image_half, m1, m2, m3, m4)
    assert (with_mu - decoder(*image_half, *others)).abs().max() > 1e-3

    scalars = [p for name, p in decoder.named_parameters() if name.endswith(".mu")]
    assert len(scalars) == 4
    kept = [p.clone() for p in scalars]
    for scalar in scalars:
        scalar.zero_()
    assert torch.equal(decoder(*image_half, m1, m2, m3, m4), decoder(*image_half, *others))
    for scalar, value in zip(scalars, kept, strict=True):
        scalar.copy_(value)


def test_at_the_start_only_mu_learns_from_the_classifier() -> None:
    part = EntangleKnowledge(4, num_summed=8)
    assert part.mu.item() == 0.0
    weight_B = torch.randn(2, 4, 6, 6)
    (part(torch.randn(2, 4, 6, 6), torch.rand(2, 1, 6, 6)) * weight_B).sum().backward()
    assert part.mu.grad is not None
    assert part.conv.weight.grad is not None
    assert part.mu.grad.abs().item() > 0
    assert not part.conv.weight.grad.any()


def test_a_block_joins_the_enlarged_map_before_the_skip(watched: "Watch") -> None:
    block = AttentionBlock(4, 3, 5, "full", dropout=0.0)
    below, skip = torch.randn(2, 4, 6, 6), torch.randn(2, 3, 12, 12)
    with watched(block.before) as calls:
        out = block(below, skip)
    joined = calls[0][0]
    nearest = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(joined[:, :4], nearest)
    assert torch.equal(joined[:, 4:], skip)
    assert out.shape == (2, 5, 12, 12)


def test_the_last_block_has_no_skip_and_one_scse() -> None:
    block = AttentionBlock(4, 0, 5, "full", dropout=0.0)
    assert sum(isinstance(m, ScSE) for m in block.modules()) == 1
    assert block(torch.randn(2, 4, 6, 6)).shape == (2, 5, 12, 12)


def test_each_block_gets_the_skip_of_its_scale(small: System, watched: "Watch") -> None:
    decoder = small.networks["seg_decoder"]
    assert isinstance(decoder, SegDecoder)
    given = seg_inputs(small, 1)
    g0, means = given[0], given[5:]
    skips: list[Tensor | None] = []
    handles = [
        block.register_forward_hook(lambda _, inputs, __: skips.append(inputs[1]))
        for block in decoder.blocks
    ]
    with watched(decoder.blocks[0]) as first:
        decoder(*given)
    for handle in handles:
        handle.remove()
    parts = zip(decoder.knowledge, given[1:5], means, strict=True)
    h = [part(half, mean) for part, half, mean in parts]
    assert torch.equal(first[0][0], h[3])
    for skip, expected in zip(skips[:4], [h[2], h[1], h[0], g0], strict=True):
        assert skip is not None
        assert torch.equal(skip, expected)
    assert skips[4] is None


def test_new_layers_start_as_the_authors_do() -> None:
    encoder = build_encoder("mobilenet_v2")
    rootseg, seg = RootSeg(encoder), SegEncoder(encoder)
    decoder = SegDecoder(seg, encoder.channels[1:])

    def spread(conv: nn.Module) -> tuple[float, float]:
        """Standard deviation and maximum, in units of Kaiming's standard deviation."""
        assert isinstance(conv, nn.Conv2d)
        fan_in = conv.weight[0].numel()
        unit = math.sqrt(2 / fan_in)
        return conv.weight.std().item() / unit, conv.weight.abs().max().item() / unit

    normal = rootseg.get_submodule("decode.1.0")
    uniform = decoder.get_submodule("blocks.0.convs.1.0")
    for conv in (normal, uniform):
        # Half a million draws: their standard deviation is known to a tenth of a percent.
        assert spread(conv)[0] == pytest.approx(1.0, abs=0.02)
    assert spread(normal)[1] > 4  # a normal distribution has tails, a uniform one ends at root 3
    assert math.sqrt(3) * 0.99 < spread(uniform)[1] <= math.sqrt(3) * 1.001
    for module in [*seg.entangle.modules(), *decoder.modules()]:
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            assert not module.bias.any()
    assert ChannelAttention().delta.item() == 0.0


def test_the_knowledge_kernel_starts_as_a_slice_of_the_joined_one() -> None:
    encoder = build_encoder("mobilenet_v2")
    decoder = SegDecoder(SegEncoder(encoder), encoder.channels[1:])
    for part, channels in zip(decoder.knowledge, encoder.channels[1:], strict=True):
        weight = part.get_submodule("conv").get_parameter("weight")
        # The authors' kernel takes the photograph's channels and the sum: that is its fan-in.
        unit = math.sqrt(2 / (9 * (channels + 1)))
        # 216 draws or more: their standard deviation is known to four percent.
        assert weight.std().item() / unit == pytest.approx(1.0, abs=0.15)
