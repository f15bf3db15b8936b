"""Colours as a viewer shows them: profiles become sRGB, transparent parts are laid on white.

White, because that is what most viewers, browsers and printed pages show behind a picture; black,
which dropping transparency usually gives, would look like dark skin or a dark lesion.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture.limits import BLENDED, Picture, strip_rows

#: What the samples of a file mean. Ink of CMYK is 0 for none and 255 for full, as in Pillow.
Colours = Literal["L", "RGB", "CMYK"]
_SPACES: dict[str, Colours] = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
_WORDS = {"L": "grey", "RGB": "RGB", "CMYK": "CMYK"}
#: A profile that changes no colour by more is sRGB under another name; bytes are kept then. The
#: sRGB profiles in use round their curves differently, by one step.
_SAME_COLOUR = 2
#: Levels of each channel at which a profile is compared with sRGB.
_GRID_LEVELS = 17

Convert = Callable[[Image.Image], Image.Image]


class Canvas:
    """A photograph in sRGB that is filled strip by strip.

    Converting strips keeps what is made on the way small: 64 megapixels take 192 MB here.
    """

    def __init__(self, height: int, width: int, colours: Colours, icc: bytes | None) -> None:
        self._image_HWC = np.empty((height, width, 3), np.uint8)
        self._convert, self._notes = _conversion(icc, colours)
        self._is_seen = False
        self._is_blended = False

    def paint(
        self, top: int, strip: Image.Image, alpha_HW: NDArray[np.uint8] | None = None
    ) -> None:
        """Put a strip of the mode ``colours`` at row ``top``; ``alpha_HW`` is 255 for opaque."""
        rgb_HWC = np.asarray(self._convert(strip))
        rows = self._image_HWC[top : top + strip.height]
        opacity = 255 if alpha_HW is None else int(alpha_HW.max(initial=0))
        self._is_seen |= opacity > 0
        if alpha_HW is None or int(alpha_HW.min(initial=255)) == 255:
            rows[:] = rgb_HWC
            return
        self._is_blended = True
        alpha_HW1 = alpha_HW[..., None].astype(np.uint16)
        rows[:] = (rgb_HWC * alpha_HW1 + 255 * (255 - alpha_HW1) + 127) // 255

    def picture(self, path: Path) -> Picture:
        """The finished photograph.

        Raises:
            InputError: nothing of it can be seen, because every pixel is transparent.
        """
        if not self._is_seen:
            raise InputError(
                f"{path}: every pixel is transparent, nothing can be seen; "
                "save it without transparency"
            )
        blended = (BLENDED,) if self._is_blended else ()
        return Picture(self._image_HWC, self._notes + blended)


def picture_of_samples(
    path: Path,
    samples_HWC: NDArray[np.uint8],
    colours: Colours,
    icc: bytes | None,
    alpha_HW: NDArray[np.uint8] | None = None,
) -> Picture:
    """A photograph of decoded samples, uint8 [H, W, 1, 3 or 4], by their profile if there is one.

    Raises:
        InputError: every pixel is transparent.
    """
    height, width = samples_HWC.shape[:2]
    if colours == "RGB" and icc is None and alpha_HW is None:
        return Picture(samples_HWC)
    canvas = Canvas(height, width, colours, icc)
    for top in range(0, height, rows := strip_rows(width)):
        strip = pillow_strip(samples_HWC[top : top + rows], colours)
        canvas.paint(top, strip, None if alpha_HW is None else alpha_HW[top : top + rows])
    return canvas.picture(path)


def pillow_strip(strip_HWC: NDArray[np.uint8], mode: str) -> Image.Image:
    """Rows of samples as a Pillow image of a mode that has as many channels."""
    height, width = strip_HWC.shape[:2]
    content = np.ascontiguousarray(strip_HWC)
    return Image.frombuffer(mode, (width, height), content, "raw", mode, 0, 1)


def _conversion(icc: bytes | None, colours: Colours) -> tuple[Convert, tuple[str, ...]]:
    """What makes sRGB of a strip, and notes. A profile that cannot be meant is passed over."""
    if not icc:
        note = "CMYK without a profile: its colours are approximate"
        return _plainly, (note,) if colours == "CMYK" else ()
    convert, note = _by_profile(icc, colours)
    return convert or _plainly, (note,) if note else ()


def _plainly(strip: Image.Image) -> Image.Image:
    return strip if strip.mode == "RGB" else strip.convert("RGB")


@lru_cache(maxsize=4)  # photographs of a folder mostly share one profile
def _by_profile(icc: bytes, colours: Colours) -> tuple[Convert | None, str]:
    from PIL import ImageCms  # most photographs need no colour management

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if _SPACES.get(space) != colours:
            return None, f"its {space} profile was passed over, because it is {_WORDS[colours]}"
        srgb = ImageCms.createProfile("sRGB")
        # What the profile's maker meant for pictures; for RGB profiles of matrices all are alike.
        intent = ImageCms.Intent.PERCEPTUAL
        # A grey curve alone is cheap without the tables that are less exact where it is dark.
        flags = ImageCms.Flags.NOOPTIMIZE if colours == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(profile, srgb, colours, "RGB", intent, flags)
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return None, "its colour profile is damaged and was passed over"

    def convert(strip: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(strip, transform)
        assert converted is not None  # it is None only where asked to work in place
        return converted

    return (None if _changes_nothing(convert, colours) else convert), ""


def _changes_nothing(convert: Convert, colours: Colours) -> bool:
    """Whether a conversion is that of sRGB: of grey and RGB, on a grid of all colours."""
    if colours == "CMYK":
        return False
    levels = np.linspace(0, 255, _GRID_LEVELS).round().astype(np.uint8)
    if colours == "L":
        plain = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        red, green, blue = np.meshgrid(levels, levels, levels)
        plain = Image.fromarray(np.stack([red, green, blue], axis=-1).reshape(1, -1, 3))
    before, after = np.asarray(plain.convert("RGB")), np.asarray(convert(plain))
    return bool(np.abs(before.astype(int) - after.astype(int)).max() <= _SAME_COLOUR)
