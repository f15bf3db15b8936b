"""Explanations of a label during evaluation: Grad-CAM++, and the class map that a bundle gives.

Both are computed from the maps that enter the classifier's `ClassHead`. Only means and a linear
layer follow these maps, so the gradient of a logit is a weight divided by the number of places. It
is the same at every place, and no backward pass is needed.

Suffixes: B batch, C channels, H rows, W columns, h, w rows and columns of the largest map,
K classes, S network side.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ckd.finding.explanation import evidence
from ckd.train.networks.blocks import ClassHead, resized
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import class_head


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two maps of the evidence for one label of one image.

    Attributes:
        grad_cam_hw: Grad-CAM++, not negative and without unit.
        log_odds_hw: evidence from the deployed class map, see `ckd.finding.explanation.evidence`.
    """

    grad_cam_hw: NDArray[np.float32]
    log_odds_hw: NDArray[np.float32]


def grad_cam_plus_plus(
    head: ClassHead, maps_BCHW: Sequence[Tensor], labels_B: Sequence[int]
) -> Tensor:
    """Grad-CAM++ (Chattopadhyay et al., WACV 2018) for a label of each image: [B, h, w], 0 or more.

    With g the gradient of the logit, A a channel and S its sum over places, the weight of the
    channel is the sum over places of relu(g) * alpha, where alpha = g^2 / (2 g^2 + S g^3) (their
    equation 19 for an exponential score, whose own factor only scales the map and is left out).
    Several maps are enlarged to the size of the largest and added.

    Here alpha is computed as 1 / (2 + S g), which is equal because g^2 cancels; so small gradients
    need no epsilon. A negative S is replaced by 0, because 2 + S g could otherwise pass through 0.
    The paper's rectified maps have no negative S; linear bottlenecks and attention may.
    """
    kernels = torch.split(head.fc.weight.detach(), list(head.channels), dim=1)
    size = max(tuple(x.shape[2:]) for x in maps_BCHW)
    total = maps_BCHW[0].new_zeros((len(labels_B), 1, *size))
    for x_BCHW, weight_KC in zip(maps_BCHW, kernels, strict=True):
        places = x_BCHW.shape[2] * x_BCHW.shape[3]
        gradient_BC = (weight_KC[list(labels_B)] / places).relu()
        alpha_BC = 1.0 / (2.0 + x_BCHW.sum(dim=(2, 3)).relu() * gradient_BC)
        channel_weight_BC = places * gradient_BC * alpha_BC
        map_B1HW = (channel_weight_BC[..., None, None] * x_BCHW).sum(dim=1, keepdim=True)
        total = total + resized(map_B1HW, size)
    return total.relu()[:, 0]


@torch.no_grad()
def explain(
    system: System, images_BSSC: NDArray[np.uint8], labels_B: Sequence[int]
) -> list[Explanation]:
    """Explain one label of each image.

    Args:
        system: made by `ckd.train.systems.rewrite.explained`, in evaluation mode.
        images_BSSC: uint8 RGB at network size.
        labels_B: index of the label to explain, for each image.
    """
    head, name = class_head(system), system.outputs.class_map
    assert head is not None
    assert name is not None
    device = next(system.parameters()).device
    with _inputs_of(head) as inputs:
        tensors = system(torch.from_numpy(images_BSSC.copy()).to(device), (name,))
    maps_BKhw = tensors[name].float().cpu().numpy()
    cams_Bhw = grad_cam_plus_plus(head, inputs[-1], labels_B).float().cpu().numpy()
    return [
        Explanation(
            cam_hw,
            evidence(
                dict(zip(system.labels, maps_Khw, strict=True)),
                system.labels[label],
                system.outputs.exclusive,
            ),
        )
        for cam_hw, maps_Khw, label in zip(cams_Bhw, maps_BKhw, labels_B, strict=True)
    ]


@contextmanager
def _inputs_of(head: ClassHead) -> Iterator[list[tuple[Tensor, ...]]]:
    """Record the maps that enter the head, once for each time it runs."""
    inputs: list[tuple[Tensor, ...]] = []
    hook = head.register_forward_pre_hook(lambda module, maps: inputs.append(maps))
    try:
        yield inputs
    finally:
        hook.remove()
