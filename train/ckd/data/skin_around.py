"""More skin like that around a lesion, for captures that show a lesion from further away.

A photograph says nothing of what lies beyond it, and mirroring it makes of its dark corners,
stickers and rulers things in the middle of the picture that no camera sees. So the skin is made
anew: the colour that most of it has, and a texture with the power spectrum of its own and random
phases (Galerne, Gousseau and Morel 2011, "Random Phase Textures: Theory and Synthesis"), the same
phases in every channel, so that colours stay with their lightness.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: Width of the ring around a lesion that is not yet plain skin, as a share of the shorter side.
RING: Final = 1 / 16
#: Beyond so many deviations from the skin's median colour lies a sticker, a ruler or the dark
#: around a field of view. Deviations are taken as 1.4826 median absolute ones, with so many levels
#: at least.
_WITHIN: Final = 3.0
_LEAST_DEVIATION: Final = 4.0
#: Wider than so large a share of the side, changes of skin are those of the light.
_TEXTURE: Final = 1 / 8


def skin_around(
    image_HWC: NDArray[np.uint8], near_HW: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Skin of the photograph's size, without a lesion.

    Args:
        image_HWC: uint8 RGB.
        near_HW: True on the lesion and where the skin is not yet plain.
        rng: draws the phases.

    Returns:
        H x W x C in levels from 0 to 255, not rounded.
    """
    float_HWC = image_HWC.astype(np.float32)
    around = image_HWC[~near_HW] if not near_HW.all() else image_HWC.reshape(-1, 3)
    colour_C = np.median(around, axis=0)
    off_C = np.abs(around - colour_C)
    deviation_C = np.maximum(1.4826 * np.median(off_C, axis=0), _LEAST_DEVIATION)
    is_skin_HW = (np.abs(float_HWC - colour_C) < _WITHIN * deviation_C).all(axis=2) & ~near_HW
    # Away from what is not skin, whose edges are no texture of it.
    weight_HW = cv2.erode(is_skin_HW.astype(np.float32), np.ones((3, 3)))
    share = float(weight_HW.mean())
    if share == 0:
        return np.broadcast_to(colour_C.astype(np.float32), image_HWC.shape)
    height, width = near_HW.shape
    wide = (max(3, round(_TEXTURE * min(height, width)) | 1),) * 2
    sum_HWC = cv2.blur(float_HWC * weight_HW[..., None], wide)
    mean_HWC = sum_HWC / np.maximum(cv2.blur(weight_HW, wide), 1e-3)[..., None]
    texture_HWC = (float_HWC - mean_HWC) * weight_HW[..., None]
    # Noise has every phase, and those of an image of real numbers: opposite ones for opposite
    # frequencies.
    noise = np.fft.rfft2(rng.standard_normal((height, width), np.float32))
    phases = (noise / np.maximum(np.abs(noise), 1e-12))[..., None]
    spectrum = np.fft.rfft2(texture_HWC, axes=(0, 1)) * phases / np.sqrt(share)
    made_HWC = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return np.asarray(colour_C + made_HWC, np.float32)
