"""What can be analysed: sizes of photographs, and how much memory decoding them may take."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError

#: Larger images are refused, because decoded they would not fit a small device's memory.
MAX_PIXELS = 64_000_000
#: Images with a shorter side are refused, because they cannot show a lesion.
MIN_SIDE_PX = 16
#: Pixels that are converted at a time: what is made on the way is then small beside the photograph.
STRIP_PIXELS = 1_000_000
#: The most that channels of a drawing in grey differ: JPEG gives one a little colour.
GREY_COLOUR = 32
#: The note of a photograph that is transparent somewhere.
BLENDED = "transparent parts are shown on white"


class Picture(NamedTuple):
    """A photograph as a viewer shows it, and what had to be decided to show it.

    ``image_HWC`` is uint8 RGB (sRGB), upright. Each of ``notes`` is a sentence without its file's
    name, such as `BLENDED`.
    """

    image_HWC: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


class ImpossibleSize(InputError):
    """A picture has too few or too many pixels to be analysed."""


def check_size(name: str, height: int, width: int) -> None:
    """Raise `ImpossibleSize` unless an image of so many pixels can be analysed."""
    if min(height, width) < MIN_SIDE_PX:
        raise ImpossibleSize(
            f"{name}: {width}x{height} pixels is too small to show a lesion; "
            f"expected at least {MIN_SIDE_PX}x{MIN_SIDE_PX}"
        )
    if height * width > MAX_PIXELS:
        raise too_large(f"{name}: {width}x{height} pixels")


def too_large(what: str) -> ImpossibleSize:
    """The error for an image of more than `MAX_PIXELS`."""
    return ImpossibleSize(
        f"{what}: over the limit of {MAX_PIXELS // 1_000_000} megapixels; resize it first"
    )


def damaged(path: Path, reason: object) -> InputError:
    """The error for a file whose content contradicts its format, in one line."""
    return InputError(
        f"{path}: damaged or cut off ({' '.join(str(reason).split())}); copy the file again"
    )


def strip_rows(width: int) -> int:
    """How many rows of an image of that width are converted at a time."""
    return max(1, STRIP_PIXELS // width)
