"""The door of every network: from 8-bit RGB to what the first convolution takes."""

import torch
from torch import Tensor, nn

from ckd.contract.preprocess import IMAGENET_MEAN_C, IMAGENET_STD_C


class ImageInput(nn.Module):
    """uint8 RGB [B, H, W, 3] to normalised float [B, 3, H, W].

    Training, evaluation and the exported graphs all use this module, so an integrator cannot get
    layout, scaling or normalisation wrong. The cast comes first: TensorRT transposes no uint8.
    Mean and deviation are explicit steps rather than folded into the first convolution, whose zero
    padding would then stand for another colour at the borders.
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
        """Cast, lay out, scale and normalise."""
        x_BCHW = image_BHWC.to(self.mean_C.dtype).permute(0, 3, 1, 2)
        return (x_BCHW - self.mean_C) / self.std_C
