"""PyCUDA: a GPUArray goes in, GPUArrays come out, all in the application's own context.

    python pycuda_in_out.py PHOTOGRAPH [BACKEND]

The cascade uses the context that is current, so it must be current around every call of it, and
outlive it. TensorRT works in any context. ONNX Runtime always takes the device's primary one: for
BACKEND onnxruntime the application has to use that too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pycuda.driver
from pycuda.gpuarray import GPUArray, to_gpu

from ckd.finding.logits import logit, softmax
from ckd.picture.decode import read_rgb
from ckd.runtime import Cascade


@contextmanager
def own_context(is_primary: bool = False) -> Iterator[None]:
    """A context on the first device, current in this thread; arrays in it must not outlive it."""
    pycuda.driver.init()
    device = pycuda.driver.Device(0)
    if is_primary:
        context = device.retain_primary_context()
        context.push()
    else:
        context = device.make_context()
    try:
        yield
    finally:
        context.pop()
        context.detach()


def analyse(cascade: Cascade, image_HWC: GPUArray) -> tuple[GPUArray, GPUArray]:
    """Mask logits [1, 1, S, S] at network size and class logits [1, K], both on the device.

    They are the cascade's own memory, which its next run overwrites and its end releases.
    """
    logits = cascade.run_device(image_HWC)  # names as in cascade.spec.outputs
    return as_gpuarray(logits["mask_logits"]), as_gpuarray(logits["logits"])


def as_gpuarray(buffer: Any) -> GPUArray:
    """The same memory for PyCUDA; the buffer lives as long as the array."""
    described = buffer.__cuda_array_interface__
    address, _ = described["data"]
    return GPUArray(described["shape"], described["typestr"], base=buffer, gpudata=address)


def main(photograph: str, backend: str = "tensorrt") -> None:
    """Print how much of the photograph is lesion, and what it may be."""
    with (
        own_context(is_primary=backend == "onnxruntime"),
        Cascade.load(backend=backend, device="cuda:0") as cascade,
    ):
        cut = logit(cascade.spec.mask_threshold)
        mask_logits, class_logits = analyse(cascade, to_gpu(read_rgb(Path(photograph))))
        print(f"lesion: {(mask_logits.get() > cut).mean():.1%} of the image")
        probabilities = softmax(class_logits.get()[0])
        for label, probability in zip(cascade.spec.labels, probabilities, strict=True):
            print(f"{label}: {probability:.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
