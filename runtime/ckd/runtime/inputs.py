"""What the networks take of an image, and what somebody else may be told of it.

Suffixes: H rows, W columns of the image as given; C channels in RGB order; S side of the square
network input in pixels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.picture.decode import check_rgb, read_rgb
from ckd.picture.resize import network_image
from ckd.runtime.engine import DeviceRunner, Outputs
from ckd.runtime.stopwatch import Stopwatch


@dataclass(frozen=True, slots=True, eq=False)
class NetworkInput:
    """An image as the networks take it, with the stopwatch of its analysis.

    ``size_hw`` are rows and columns of the image as given, which masks will have. ``image_HWC`` is
    that image, uint8 RGB, for what is judged at its own resolution; None where it is not on the
    host.
    """

    image_SS3: NDArray[np.uint8]
    size_hw: tuple[int, int]
    watch: Stopwatch = field(default_factory=Stopwatch)
    image_HWC: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Analysed:
    """What the networks saw and gave, in arrays that the next run leaves alone.

    Attributes:
        image_SS3: uint8 RGB, what the networks saw.
        size_hw: rows and columns of the image as given.
        outputs: by tensor name, batch axis of one included: all that a finding is made of.
        tensors: all tensors of the graph likewise; empty unless they were asked for.
        left_out: parts of the answer that there was no time for; their tensors are missing.
    """

    image_SS3: NDArray[np.uint8]
    size_hw: tuple[int, int]
    outputs: Outputs
    tensors: Outputs
    left_out: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """That the arrays take."""
        arrays = (self.image_SS3, *self.outputs.values(), *self.tensors.values())
        return sum(array.nbytes for array in arrays)


class Listener:
    """Has a function told of every image that a cascade analyses, before its finding is made.

    So it hears of an image also if a network gave no finite numbers.

    Args:
        told: called in the thread that makes the finding.
        every_tensor: give all tensors of the graph. On a GPU each is then copied to the host for
            every image, and images do not overlap.
    """

    def __init__(self, told: Callable[[Analysed], None], *, every_tensor: bool = False) -> None:
        self.told, self.every_tensor = told, every_tensor


def network_input(image: object, side: int) -> NetworkInput:
    """Shrink an image, uint8 RGB [H, W, 3] or a file; reading the file is not timed.

    Raises:
        InputError: the file or array is not an image that can be analysed.
    """
    image_HWC: Any = read_rgb(Path(image)) if isinstance(image, str | Path) else image
    check_rgb(image_HWC)
    watch = Stopwatch()
    height, width = image_HWC.shape[:2]
    small_SS3 = network_image(image_HWC, side)
    return NetworkInput(small_SS3, (height, width), watch, image_HWC)


def overlapped(
    runner: DeviceRunner, images: Iterable[NDArray[np.uint8]], side: int
) -> Iterator[tuple[Outputs, NetworkInput]]:
    """The outputs for images, in order; the next image is prepared while the networks run.

    Raises:
        InputError: an image cannot be analysed.
        EngineError: an engine failed.
    """
    under_way: deque[NetworkInput] = deque()

    def prepared() -> Iterator[NDArray[np.uint8]]:
        for image in images:
            taken = network_input(image, side)
            taken.watch.lap("preprocess")
            under_way.append(taken)
            yield taken.image_SS3[None]

    for outputs in runner.stream(prepared()):
        taken = under_way.popleft()
        taken.watch.lap("networks")  # includes preparing the next image
        yield outputs, taken
