"""Rounding to integers in the forward pass, with gradients for what is rounded and for the scale.

It computes to the bit what an exported file computes: activations as ONNX's QuantizeLinear and
DequantizeLinear, weights as ONNX Runtime's quantiser stores them.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ckd.contract.placement import Grid

#: The largest integer of a weight; its grid is symmetric.
_WEIGHT_LEVEL = 127


class Step(nn.Module):
    """The learnt scale of a grid; its logarithm is the parameter (Jain et al. 2020).

    An optimiser's step so changes any scale by the same factor.
    """

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.is_known = True

    def forward(self) -> Tensor:
        """The scale, float32 and at most the largest; 0 while it is not known."""
        if not self.is_known:
            return torch.zeros(())
        return self.log_scale.exp().clamp(max=self.largest)


class LearntGrid(nn.Module):
    """Rounds a tensor to the integers of a grid times a learnt scale (LSQ, Esser et al. 2020).

    Attributes:
        observed: of every image so far its largest absolute number, while it observes.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.levels = grid.levels
        self.step = Step(grid.largest_scale)
        self.observed: list[float] = []

    @property
    def scale(self) -> float:
        """The scale, a float32 number."""
        return float(self.step().detach())

    def observe(self) -> None:
        """Round nothing until `start`, and note how large the numbers are."""
        self.step.is_known, self.observed = False, []

    def start(self, largest: float) -> None:
        """Round from now on, on a grid that reaches up to this number."""
        scale = max(largest, 1e-6) / self.levels[1]
        self.step.log_scale.data.fill_(math.log(min(scale, self.step.largest)))
        self.step.is_known = True

    def forward(self, x: Tensor) -> Tensor:
        """The tensor on the grid; while it observes, the tensor itself."""
        if not self.step.is_known:
            self.observed += x.detach().abs().flatten(1).amax(dim=1).tolist()
            return x
        return torch.as_tensor(_Rounded.apply(x, self.step(), *self.levels))


class _Rounded(torch.autograd.Function):
    """Rounding, whose gradient is 1 inside the grid and 0 outside (straight through)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.levels = low, high
        return (x / scale).round().clamp(low, high) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, None, None]:
        """LSQ's gradients, that of the scale divided by the root of what it is summed over."""
        (gradient,) = gradients
        x, scale = ctx.saved_tensors
        low, high = ctx.levels
        steps = x / scale
        inside = (steps >= low) & (steps <= high)
        by_scale = torch.where(inside, steps.round() - steps, steps.clamp(low, high))
        weight = 1.0 / math.sqrt(x.numel() * high)
        return gradient * inside, (gradient * by_scale).sum() * weight, None, None


def weight_scales(weight: Tensor) -> Tensor:
    """The scale of each output channel, of shape [C]: its largest absolute number over 127.

    Computed in double precision and rounded once, as ONNX Runtime does; 1 for channels of zeros.
    """
    largest_C = weight.detach().abs().flatten(1).amax(dim=1).double()
    scales_C = (2.0 * largest_C / (2.0 * _WEIGHT_LEVEL)).float()
    return torch.where(scales_C < torch.finfo(torch.float32).tiny, 1.0, scales_C)


def rounded_weight(weight: Tensor) -> Tensor:
    """A weight [C, ...] as it is stored in INT8, one scale per output channel, in float again.

    The gradient passes unchanged; scales follow the weight and get none.
    """
    scales = weight_scales(weight).view(-1, *[1] * (weight.dim() - 1))
    rounded = (weight.detach() / scales).round() * scales
    return torch.as_tensor(_Replaced.apply(weight, rounded))


def rounded_bias(bias: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """A bias [C] in whole steps of the layer's sums, which are those of its input and its weight.

    ONNX Runtime computes sums and biases in int32. A bias of whole steps is exact there, so that
    its integer kernels give what training saw, to the bit. The gradient passes unchanged.

    Args:
        bias: of the layer.
        weight: of the layer, [C, ...].
        scale: of what the layer reads; 0 while it is not known, and the bias stays.
    """
    step_C = scale.detach() * weight_scales(weight)
    rounded = torch.where(step_C > 0, (bias.detach() / step_C).round() * step_C, bias.detach())
    return torch.as_tensor(_Replaced.apply(bias, rounded))


class _Replaced(torch.autograd.Function):
    """The second tensor, with the gradient for the first."""

    @staticmethod
    def forward(_: Any, source: Tensor, replacement: Tensor) -> Tensor:
        return replacement

    @staticmethod
    def backward(_: Any, *gradients: Any) -> tuple[Tensor, None]:
        return gradients[0], None
