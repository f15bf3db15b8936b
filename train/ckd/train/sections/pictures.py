"""Pictures that are no photographs of a lesion: bare skin, things, patterns, and nothing at all.

They are made from a seed, from the photographs at hand, or come with scikit-image, so that anyone
gets the same ones.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.masks import read_mask
from ckd.data.samples import Sample
from ckd.data.synthetic.scene import hairs, optics, skin
from ckd.picture.decode import read_rgb

Image = NDArray[np.uint8]
#: Pictures that scikit-image brings along (others it would fetch from the network).
_THINGS: Final = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "colorwheel",
    "grass", "gravel", "horse", "hubble_deep_field", "immunohistochemistry", "microaneurysms",
    "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
_CROPS: Final = 4
_SIDE_PX: Final = 256
#: Bare skin is taken from a photograph if a square of this share of its shorter side is free.
_LEAST_FREE: Final = 0.25


#: Of each kind that is generated, and of photographs whose bare skin is taken.
_MADE, _BARE = 40, 200


@dataclass(frozen=True, slots=True)
class OtherPicture:
    """A picture without a lesion.

    Attributes:
        kind: such as "bare skin".
        source: what it was made from; pictures of one source are fitted on together or not at all.
        image_HWC: RGB.
    """

    kind: str
    source: str
    image_HWC: Image


def other_pictures(samples: Sequence[Sample]) -> list[OtherPicture]:
    """Pictures that show something, but no lesion.

    Args:
        samples: photographs with masks, whose bare skin is taken.
    """
    return [*bare_skin(samples, _BARE), *made_skin(_MADE), *things(), *patterns(_MADE)]


def blank_pictures() -> list[OtherPicture]:
    """Pictures of nothing."""
    return [*blanks(_MADE)]


def bare_skin(samples: Sequence[Sample], limit: int) -> Iterator[OtherPicture]:
    """The lesion-free square of photographs, mirrored until it fills the size of the photograph.

    Mirroring keeps the scale, so that hair and noise look as in the photographs. Photographs
    without mask, or with too little skin beside the lesion, give nothing.

    Args:
        samples: photographs, taken in their order.
        limit: number of pictures to give.
    """
    given = 0
    for sample in samples:
        if sample.mask is None or given == limit:
            continue
        image_HWC = read_rgb(sample.image)
        square = _free_square(read_mask(sample.mask, image_HWC.shape[:2]))
        if square is not None:
            row, column, side = square
            crop = image_HWC[row : row + side, column : column + side]
            height, width = image_HWC.shape[:2]
            more = ((0, height - side), (0, width - side), (0, 0))
            given += 1
            source = sample.group or sample.id
            yield OtherPicture("bare skin", source, np.pad(crop, more, mode="symmetric"))


def made_skin(count: int) -> Iterator[OtherPicture]:
    """Generated skin without a lesion, every second one with hair."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        picture_HWC = skin(rng, _SIDE_PX)
        if seed % 2:
            hairs(rng, picture_HWC)
        picture_HWC = optics(rng, picture_HWC)
        image_HWC = np.clip(np.round(255 * picture_HWC), 0, 255).astype(np.uint8)
        yield OtherPicture("generated skin", f"skin {seed}", image_HWC)


def things() -> Iterator[OtherPicture]:
    """The pictures of scikit-image, whole and in crops."""
    from skimage import data

    for name in _THINGS:
        whole = np.asarray(getattr(data, name)())
        whole = np.asarray(255 * whole, np.uint8) if whole.dtype == np.bool_ else whole
        image_HWC = np.stack([whole] * 3, axis=2) if whole.ndim == 2 else whole[..., :3]
        yield OtherPicture("things", name, np.ascontiguousarray(image_HWC))
        rng = np.random.default_rng(len(name))
        height, width = image_HWC.shape[:2]
        for _ in range(_CROPS):
            side = int(min(height, width) * rng.uniform(0.4, 0.9))
            row, column = rng.integers(height - side + 1), rng.integers(width - side + 1)
            crop_HWC = image_HWC[row : row + side, column : column + side]
            yield OtherPicture("things", name, np.ascontiguousarray(crop_HWC))


def patterns(count: int) -> Iterator[OtherPicture]:
    """Generated noise, cloth, print and even colour that runs into another, ``count`` of each."""
    for kind, draw in _PATTERNS.items():
        for seed in range(count):
            image_HWC = draw(np.random.default_rng(seed))
            yield OtherPicture(kind, f"{kind} {seed}", np.clip(image_HWC, 0, 255).astype(np.uint8))


def blanks(count: int) -> Iterator[OtherPicture]:
    """Pictures of nothing: one colour with and without noise, and a capped lens in the dark."""
    y, x = np.mgrid[-1 : 1 : _SIDE_PX * 1j, -1 : 1 : _SIDE_PX * 1j]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        even = np.full((_SIDE_PX, _SIDE_PX, 3), rng.integers(0, 256, 3), np.float64)
        noise = rng.normal(0, rng.uniform(1, 6), even.shape)
        leak = rng.uniform(0, 20) * np.exp(-((x - rng.uniform(-1, 1)) ** 2 + y**2) * 3)
        dark = rng.uniform(0, 12) + np.abs(noise) + leak[..., None]
        for name, picture in (("even", even), ("noisy", even + noise), ("dark", dark)):
            image_HWC = np.clip(picture, 0, 255).astype(np.uint8)
            yield OtherPicture("blank", f"{name} {seed}", image_HWC)


def _free_square(lesion_HW: NDArray[np.bool_]) -> tuple[int, int, int] | None:
    """Row, column and side of the largest square without lesion, or None if it is too small."""
    margin = max(3, min(lesion_HW.shape) // 16)
    near = cv2.dilate(lesion_HW.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8))
    sums = cv2.integral(near)
    shorter = min(lesion_HW.shape)
    for side in range(shorter // 2, int(_LEAST_FREE * shorter), -max(1, shorter // 40)):
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
        rows, columns = np.nonzero(inside + sums[:-side, :-side] == 0)
        if len(rows):
            middle = len(rows) // 2  # away from the photograph's dark corners
            return int(rows[middle]), int(columns[middle]), side
    return None


def _noise(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.uniform(0, 256, (_SIDE_PX, _SIDE_PX, 3))


def _cloth(rng: np.random.Generator) -> NDArray[np.float64]:
    y, x = np.mgrid[:_SIDE_PX, :_SIDE_PX] * (2 * np.pi / rng.uniform(4, 30))
    weave = rng.uniform(10, 40) * np.sin(y) * np.sin(x)
    noise = rng.normal(0, 6, (_SIDE_PX, _SIDE_PX, 3))
    return np.asarray(rng.uniform(40, 230, 3) + weave[..., None] + noise)


def _print(rng: np.random.Generator) -> NDArray[np.float64]:
    page = np.full((_SIDE_PX, _SIDE_PX, 3), rng.integers(190, 256), np.uint8)
    for row in range(10, _SIDE_PX, 18):
        letters = "".join(rng.choice([*"abcdefgh ijklmnop rst"], 30))
        cv2.putText(page, letters, (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1)
    return page.astype(np.float64)


def _runs_over(rng: np.random.Generator) -> NDArray[np.float64]:
    share = np.linspace(0, 1, _SIDE_PX)[:, None, None]
    one, other = rng.uniform(0, 256, (2, 3))
    return np.asarray(np.broadcast_to(one * (1 - share) + other * share, (_SIDE_PX, _SIDE_PX, 3)))


_PATTERNS: Final[dict[str, Callable[[np.random.Generator], NDArray[np.float64]]]] = {
    "noise": _noise, "cloth": _cloth, "print": _print, "one colour into another": _runs_over,
}  # fmt: skip
