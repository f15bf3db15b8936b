"""Channel attention, scSE and the head of every classifier.

Suffixes: B batch, C channels, H rows, W columns, T = H*W, K classes.
"""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ckd.train.networks.blocks import ChannelAttention, ClassHead, ScSE


def assert_close(got: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """By default for float32 on both sides and values of order one, summed in another order."""
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def attention(delta: float, sign: Literal[-1, 1] = -1) -> ChannelAttention:
    module = ChannelAttention(sign)
    nn.init.constant_(module.delta, delta)
    return module


def test_channel_attention_starts_as_the_identity() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3)
    assert torch.equal(ChannelAttention()(a_BCHW), a_BCHW)


def test_channel_attention_equals_the_authors_softmax_of_rowmax_minus_energy() -> None:
    a_BCT = torch.randn(2, 12, 9, dtype=torch.float64) / 2
    energy_BCC = a_BCT @ a_BCT.transpose(1, 2)
    authors_BCC = torch.softmax(energy_BCC.amax(-1, keepdim=True) - energy_BCC, dim=-1)
    # A shift of the whole row: exact but for the rounding of doubles.
    assert_close(authors_BCC, torch.softmax(-energy_BCC, -1), rtol=1e-12, atol=0)

    expected = (0.7 * authors_BCC @ a_BCT + a_BCT).float().view(2, 12, 3, 3)
    got = attention(0.7)(a_BCT.float().view(2, 12, 3, 3))
    assert_close(got, expected)
    # The attention matrix is not symmetric: its transpose is another network.
    transposed = (0.7 * authors_BCC.transpose(1, 2) @ a_BCT + a_BCT).float().view(2, 12, 3, 3)
    assert (got - transposed).abs().max() > 0.1


def test_positive_energy_sign_is_the_papers_attention() -> None:
    a_BCT = torch.randn(2, 12, 9) / 2
    paper_BCC = torch.softmax(a_BCT @ a_BCT.transpose(1, 2), dim=-1)
    expected = (0.7 * paper_BCC @ a_BCT + a_BCT).view(2, 12, 3, 3)
    got = attention(0.7, sign=1)(a_BCT.view(2, 12, 3, 3))
    assert_close(got, expected)
    assert (got - attention(0.7)(a_BCT.view(2, 12, 3, 3))).abs().max() > 0.1


def test_channel_attention_treats_channels_alike() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3) / 2
    order = torch.randperm(16)
    module = attention(0.5)
    assert_close(module(a_BCHW[:, order]), module(a_BCHW)[:, order])


def test_attention_weights_of_a_channel_sum_to_one() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3) / 2
    a_BCHW[:, :, 1, 1] = 0.8
    # Where all channels agree, no weighted mean of them can differ.
    got = attention(0.5)(a_BCHW)[:, :, 1, 1]
    assert_close(got, torch.full_like(got, 1.5 * 0.8))


def test_equal_energies_attend_to_all_channels_equally() -> None:
    a_BCHW = 1e-3 * torch.randn(2, 16, 3, 3)  # energies of 1e-5 differ by nothing a softmax sees
    mixed = (attention(1.0)(a_BCHW) - a_BCHW) / 1e-3
    expected = (a_BCHW.mean(dim=1, keepdim=True) / 1e-3).expand_as(mixed)
    assert_close(mixed, expected, rtol=0, atol=1e-4)


def test_pooling_commutes_with_channel_attention() -> None:
    a_BCHW = torch.randn(2, 16, 3, 3) / 2
    a_BCT = a_BCHW.flatten(2)
    attention_BCC = torch.softmax(-a_BCT @ a_BCT.transpose(1, 2), dim=-1)
    pooled_BC = a_BCT.mean(dim=2)
    expected = pooled_BC + 0.5 * (attention_BCC @ pooled_BC[..., None])[..., 0]
    assert_close(attention(0.5)(a_BCHW).mean(dim=(2, 3)), expected)


def test_energies_stay_in_float32_under_mixed_precision() -> None:
    a_BCHW = 6 * torch.randn(2, 16, 3, 3)  # energies of several hundred
    module = attention(0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(a_BCHW), module.float()(a_BCHW))
        got = module(a_BCHW.bfloat16())
    expected = module(a_BCHW.bfloat16().float()).bfloat16()
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_scse_gates_every_element_by_between_0_and_2(spatial: Literal["full", "single"]) -> None:
    x_BCHW = torch.rand(2, 32, 5, 5) * 10
    out = ScSE(32, spatial)(x_BCHW)
    assert (out >= 0).all()
    assert (out <= 2 * x_BCHW).all()
    assert (out != x_BCHW).any()


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_scse_of_zero_weights_is_the_identity(spatial: Literal["full", "single"]) -> None:
    module = ScSE(32, spatial)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    x_BCHW = torch.randn(2, 32, 5, 5)
    assert torch.equal(module(x_BCHW), x_BCHW)  # both gates are one half, and they add up


@pytest.mark.parametrize("spatial", ["full", "single"])
def test_scse_adds_a_channel_gate_and_a_spatial_gate(spatial: Literal["full", "single"]) -> None:
    module, x_BCHW = ScSE(32, spatial), torch.randn(2, 32, 5, 5)
    into, out_of = [m for m in module.channel if isinstance(m, nn.Conv2d)]
    assert into.out_channels == 2  # reduction 16
    pooled = x_BCHW.mean(dim=(2, 3), keepdim=True)
    channel = torch.sigmoid(out_of(F.relu(into(pooled))))
    kernel = next(m for m in module.spatial if isinstance(m, nn.Conv2d))
    assert kernel.out_channels == (32 if spatial == "full" else 1)
    expected = x_BCHW * (channel + torch.sigmoid(kernel(x_BCHW)))
    assert_close(module(x_BCHW), expected)


def test_a_class_head_joins_the_means_of_its_maps() -> None:
    torch.manual_seed(0)
    head = ClassHead((3, 5), 2).eval()
    fine, coarse = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)
    pooled = torch.cat([fine.mean(dim=(2, 3)), coarse.mean(dim=(2, 3))], dim=1)
    (logits,) = head(fine, coarse)
    torch.testing.assert_close(logits, head.fc(pooled))
    head.gives_map = True
    again, map_BKHW = head(fine, coarse)
    assert torch.equal(again, logits)
    assert map_BKHW.shape == (2, 2, 8, 8)
    # Twice the size: bilinear enlarging keeps the mean up to its borders.
    inner = map_BKHW.mean(dim=(2, 3)) + head.fc.bias
    torch.testing.assert_close(inner, logits, atol=0.05, rtol=0)
