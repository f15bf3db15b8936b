"""Input layers of the networks: from 8-bit RGB to the input of the first convolution."""

import math

import torch
from torch import Tensor, nn

from ckd.contract.imagenet import IMAGENET_MEAN_C, IMAGENET_STD_C


class ImageInput(nn.Module):
    """uint8 RGB [B, H, W, 3] to normalised float [B, 3, H, W].

    Training, evaluation and the exported graphs all use this module, so an integrator cannot get
    layout, scaling or normalisation wrong. The cast comes first because TensorRT cannot transpose
    uint8. Mean and deviation are not folded into the first convolution: its zero padding would then
    stand for another colour at the borders.
    """

    mean_C: Tensor
    std_C: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "mean_C", 255.0 * torch.tensor(IMAGENET_MEAN_C).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer(
            "std_C", 255.0 * torch.tensor(IMAGENET_STD_C).view(1, 3, 1, 1), persistent=False
        )

    def forward(self, image_BHWC: Tensor) -> Tensor:
        """Cast, transpose, scale and normalise."""
        x_BCHW = image_BHWC.to(self.mean_C.dtype).permute(0, 3, 1, 2)
        return (x_BCHW - self.mean_C) / self.std_C


class Shrink(nn.Module):
    """The normalised image at a smaller side, for a network that works on one of its own.

    Each new pixel is the mean over the area that it covers, as in `ckd.picture.resize`, with which
    normalisation commutes. A block of p pixels becomes one of q, so two small matrix products do
    it, and leave rounding as the only difference between engines. (In interpolation they compute
    coordinates in different ways: 224 px resized to 192 px by ONNX Runtime came out 30 times
    further from PyTorch than other layers do.)

    Args:
        from_px: side of the image that is given.
        to_px: side of the image that is wanted, smaller.

    Attributes:
        side_px: that side.
    """

    share_qp: Tensor

    def __init__(self, from_px: int, to_px: int) -> None:
        super().__init__()
        self.side_px = to_px
        divisor = math.gcd(from_px, to_px)
        p, q = from_px // divisor, to_px // divisor
        # In units of 1 / q of an old pixel, so that all is whole: new pixel i is [i p, i p + p].
        ends_q1 = p * torch.arange(1, q + 1)[:, None]
        ends_1p = q * torch.arange(1, p + 1)[None]
        covered_qp = torch.minimum(ends_q1, ends_1p) - torch.maximum(ends_q1 - p, ends_1p - q)
        self.register_buffer("share_qp", covered_qp.clamp(min=0) / p, persistent=False)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """[B, C, side, side] of an image of ``from_px``."""
        batch, channels, from_px, _ = image_BCHW.shape
        p = self.share_qp.shape[1]
        blocks = from_px // p
        by_rows = image_BCHW.reshape(batch, channels, blocks, p, from_px)
        rows = torch.matmul(self.share_qp, by_rows)
        by_columns = rows.reshape(batch, channels, self.side_px, blocks, p)
        columns = torch.matmul(by_columns, self.share_qp.T)
        return columns.reshape(batch, channels, self.side_px, self.side_px)


class HalfMeanInput(nn.Module):
    """From normalisation by ImageNet's mean and deviation to a mean and deviation of 0.5.

    torchvision's GoogLeNet and Inception V3 were trained on images normalised with 0.5, and
    re-normalise their input (their ``transform_input``). This is a module of its own because it
    cannot be folded into a first convolution that pads: zero stands for another colour before and
    after the step. It is always there, whatever the weights are, so that the weights of a trained
    network load into one built without any. Further channels, such as that of `add_input_channel`,
    pass unchanged.
    """

    scale_C: Tensor
    shift_C: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean_C, std_C = torch.tensor(IMAGENET_MEAN_C), torch.tensor(IMAGENET_STD_C)
        self.register_buffer("scale_C", (std_C / 0.5).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift_C", ((mean_C - 0.5) / 0.5).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Re-normalise the colours; the shape stays the same."""
        rgb_BCHW = image_BCHW[:, :3] * self.scale_C + self.shift_C
        if image_BCHW.shape[1] == 3:
            return rgb_BCHW
        return torch.cat([rgb_BCHW, image_BCHW[:, 3:]], dim=1)
