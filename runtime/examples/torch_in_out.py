"""torch: a CUDA tensor goes in, CUDA tensors come out, and nothing is copied to the host.

    python torch_in_out.py PHOTOGRAPH [BACKEND]

BACKEND is tensorrt or onnxruntime. The photograph may have any size: it is resized on the device.
"""

import sys
from pathlib import Path

import torch
from torch.utils.dlpack import from_dlpack

from ckd.finding.logits import logit
from ckd.picture.decode import read_rgb
from ckd.runtime import Cascade


def analyse(cascade: Cascade, image_HWC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask logits [S, S] at network size and class logits [K], both on the device.

    They are copies: what `run_device` gives is the cascade's own memory, which its next run
    overwrites and its end releases.
    """
    logits = cascade.run_device(image_HWC)  # names as in cascade.spec.outputs
    mask = from_dlpack(logits["mask_logits"])
    classes = from_dlpack(logits["logits"])
    return mask[0, 0].clone(), classes[0].clone()


def main(photograph: str, backend: str = "tensorrt") -> None:
    """Print how much of the photograph is lesion, and what it may be."""
    image_HWC = torch.from_numpy(read_rgb(Path(photograph)).copy()).to("cuda:0")
    with Cascade.load(backend=backend, device="cuda:0") as cascade:
        cut = logit(cascade.spec.mask_threshold)
        mask_logits, class_logits = analyse(cascade, image_HWC)
        probabilities = class_logits.float().softmax(0).tolist()
        print(f"lesion: {(mask_logits > cut).float().mean():.1%} of the image")
        for label, probability in zip(cascade.spec.labels, probabilities, strict=True):
            print(f"{label}: {probability:.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
