"""The check before a bundle is written: the chained ONNX graphs must compute what PyTorch computes.

They are compared tensor by tensor, on generated dermoscopy images. The tolerance is relative to
each tensor's own spread: both sides compute in float32, but sum in another order, and depth
amplifies the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ckd.contract.errors import GateFailed
from ckd.contract.wiring import IMAGE
from ckd.data.synthetic.write import dermoscopy
from ckd.finding.logits import class_probabilities
from ckd.runtime.cascade import Cascade
from ckd.train.systems.graph import System

#: Largest difference of any element, in standard deviations of its tensor. Trained MobileNetV2
#: cascades stay below 1e-4; an untrained ResNet101 cascade with calibrated batch normalisation,
#: which amplifies rounding, reaches 2e-3. A swapped input or another resize is off by 0.3 and more.
#: In half precision single elements of a trained MobileNetV2 cascade were seen 0.21 off (2e-2 in
#: the mean square, 5e-2 at most in the answers). The wiring is that of the FP32 files, which have
#: the small tolerance, and the acceptance cases decide whether the answers are good enough.
TOLERANCE = {"fp32": 2e-2, "fp16": 5e-1}

#: Acceptance cases of a bundle, at least; and generated images that they are chosen from.
_CASES, _POOL = 4, 48


@dataclass(frozen=True, slots=True)
class TensorParity:
    """How far one tensor of the chain lies from PyTorch's, over all images."""

    tensor: str
    max_error: float  # absolute
    spread: float  # standard deviation of the PyTorch tensor

    @property
    def relative(self) -> float:
        """Largest error in standard deviations."""
        return self.max_error / max(self.spread, 1e-6)


def parity_images(side_px: int, count: int = 4) -> NDArray[np.uint8]:
    """Generated dermoscopy images at network size, [N, S, S, 3] uint8 RGB."""
    return np.stack([dermoscopy(seed=9000 + i, side_px=side_px).image_HWC for i in range(count)])


def case_images(system: System) -> NDArray[np.uint8]:
    """The images of a bundle's acceptance cases, [N, S, S, 3] uint8 RGB, four or one a label.

    Of some generated ones, for each label those of which the system is surest: what is decided on
    such an image is far from thresholds, whatever they will be, so that an engine in most
    precisions has to decide alike.
    """
    pool_NSS3 = parity_images(system.image_size, _POOL)
    name = system.outputs.class_logits
    if name is None:
        return pool_NSS3[:_CASES]
    logits_NK = np.concatenate(
        [torch_tensors(system, pool_NSS3[i : i + 4])[name] for i in range(0, _POOL, 4)]
    )
    said_NK = class_probabilities(logits_NK, system.outputs.exclusive)
    return pool_NSS3[surest(said_NK, max(_CASES, said_NK.shape[1]))]


def surest(said_NK: NDArray[np.floating[Any]], count: int) -> list[int]:
    """Rows with the largest probability of each label, then with the second largest, and so on."""
    ranked_NK = np.argsort(-said_NK, axis=0, kind="stable")
    return [*dict.fromkeys(ranked_NK.ravel().tolist())][:count]


@torch.no_grad()
def torch_tensors(
    system: System, images_NSS3: NDArray[np.uint8]
) -> Mapping[str, NDArray[np.float32]]:
    """Every tensor that the PyTorch system computes for a batch of images."""
    tensors = system.eval()(torch.from_numpy(images_NSS3))
    return {name: t.float().cpu().numpy() for name, t in tensors.items() if name != IMAGE}


def expected_tensors(
    system: System, deployed: System, images_NSS3: NDArray[np.uint8]
) -> Mapping[str, NDArray[np.float32]]:
    """The tensors that the chain must compute.

    Answers are those of the system as trained. Tensors between the networks are those of its folded
    form, which may differ from the trained ones (see `ckd.train.folds`).
    """
    trained = torch_tensors(system, images_NSS3)
    answers = {name: trained[name] for name in system.outputs.names()}
    return {**torch_tensors(deployed, images_NSS3), **answers}


def check_parity(
    cascade: Cascade,
    images_NSS3: NDArray[np.uint8],
    expected: Mapping[str, NDArray[np.float32]],
    tolerance: float = TOLERANCE["fp32"],
) -> list[TensorParity]:
    """Compare every tensor of the chain with PyTorch's.

    Raises:
        GateFailed: a tensor differs by more than ``tolerance`` standard deviations, or is not
            finite.
    """
    runs = [cascade.chain.run_all(image) for image in images_NSS3]
    report = []
    for name in (name for name in cascade.spec.shapes if name != IMAGE):
        values = np.concatenate([tensors[name] for tensors in runs]).astype(np.float32)
        error = float(np.abs(values - expected[name]).max())
        report.append(TensorParity(name, error, float(expected[name].std())))
        if not report[-1].relative <= tolerance:  # also if either side is not a number
            raise GateFailed(
                f"{name}: the exported chain differs from PyTorch by {report[-1].relative:.2g} "
                f"standard deviations, allowed {tolerance:g}; nothing was written"
            )
    return report
