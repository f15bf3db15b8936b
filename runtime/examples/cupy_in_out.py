"""CuPy: an array goes in, arrays come out, and nothing is copied to the host.

    python cupy_in_out.py PHOTOGRAPH [BACKEND]

BACKEND is tensorrt or onnxruntime. The photograph may have any size: it is resized on the device.
"""

import sys
from pathlib import Path

import cupy

from ckd.finding.logits import logit
from ckd.picture.decode import read_rgb
from ckd.runtime import Cascade


def analyse(cascade: Cascade, image_HWC: cupy.ndarray) -> tuple[cupy.ndarray, cupy.ndarray]:
    """Mask logits [S, S] at network size and class logits [K], both on the device.

    They are copies: what `run_device` gives is the cascade's own memory, which its next run
    overwrites and its end releases.
    """
    logits = cascade.run_device(image_HWC)  # names as in cascade.spec.outputs
    mask = cupy.asarray(logits["mask_logits"])  # by __cuda_array_interface__
    classes = cupy.asarray(logits["logits"])
    return mask[0, 0].copy(), classes[0].copy()


def main(photograph: str, backend: str = "tensorrt") -> None:
    """Print how much of the photograph is lesion, and what it may be."""
    with cupy.cuda.Device(0):
        image_HWC = cupy.asarray(read_rgb(Path(photograph)))
        with Cascade.load(backend=backend, device="cuda:0") as cascade:
            cut = logit(cascade.spec.mask_threshold)
            mask_logits, class_logits = analyse(cascade, image_HWC)
            odds = cupy.exp(class_logits.astype("float32") - class_logits.max())
            print(f"lesion: {float((mask_logits > cut).mean()):.1%} of the image")
            probabilities = (odds / odds.sum()).tolist()
            for label, probability in zip(cascade.spec.labels, probabilities, strict=True):
                print(f"{label}: {probability:.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
