"""Ranges of the tensors that cross from one network to the next, measured on images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.console import Progress
from ckd.contract.errors import InputError
from ckd.contract.wiring import IMAGE
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime import Cascade

#: Largest finite half-precision number.
FP16_MAX = 65504.0


@dataclass(frozen=True, slots=True)
class Range:
    """Extremes and spread of one tensor over all images and elements."""

    low: float
    high: float
    mean: float
    std: float
    num_images: int

    @property
    def fp16_headroom(self) -> float:
        """How many times larger the tensor could grow before half precision overflows."""
        largest = max(abs(self.low), abs(self.high))
        return FP16_MAX / largest if largest else math.inf

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return asdict(self)


def measure_ranges(
    cascade: Cascade,
    images: Sequence[Path],
    progress: Progress | None = None,
) -> Mapping[str, Range]:
    """Run every image through the cascade and collect the range of every tensor but the image.

    Raises:
        InputError: an image cannot be read, or a tensor holds a value that is not finite; the
            message names the image.
    """
    collected: dict[str, _Moments] = {}
    for number, path in enumerate(images, start=1):
        tensors = cascade.chain.run_all(network_image(read_rgb(path), cascade.spec.image_size))
        for name, values in tensors.items():
            if name == IMAGE:
                continue
            if not np.isfinite(values).all():
                raise InputError(f"{path}: tensor {name} holds values that are not finite")
            collected.setdefault(name, _Moments()).add(values)
        if progress is not None:
            progress(number, len(images))
    if not collected:
        raise InputError("no images to measure ranges on")
    return {name: moments.range() for name, moments in collected.items()}


class _Moments:
    """Running extremes and moments, in float64 so that many small terms do not vanish."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.total = self.squares = 0.0
        self.num_values = self.num_images = 0

    def add(self, values: NDArray[Any]) -> None:
        exact = values.astype(np.float64)
        self.low = min(self.low, float(exact.min()))
        self.high = max(self.high, float(exact.max()))
        self.total += float(exact.sum())
        self.squares += float(np.square(exact).sum())
        self.num_values += exact.size
        self.num_images += 1

    def range(self) -> Range:
        mean = self.total / self.num_values
        variance = max(self.squares / self.num_values - mean**2, 0.0)
        return Range(self.low, self.high, mean, math.sqrt(variance), self.num_images)
