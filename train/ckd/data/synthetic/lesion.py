"""Generated lesions: a border, and pigment that absorbs light of the skin.

Each class has the signs that dermatologists look for, slightly exaggerated so that a small network
can learn them: melanoma (MEL) is large, asymmetric, ragged and of several colours; seborrheic
keratosis (SBK) is waxy and sharply cut, with milia-like cysts and comedo-like openings; a nevus
(NEV) is round, of one brown, with an even network or globules.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.synthetic.fields import Field, Rng, dots, fourier_radius, mesh, noise, polar, ramp

# Absorption of a unit of pigment in red, green and blue.
BROWN_C = np.array([0.45, 0.95, 1.45], np.float32)
DARK_C = np.array([1.25, 1.5, 1.6], np.float32)
TAN_C = np.array([0.2, 0.45, 0.95], np.float32)
RED_C = np.array([0.08, 0.75, 0.6], np.float32)
GREY_C = np.array([0.85, 0.72, 0.6], np.float32)
#: Colours of the light that a veil, a scar or a cyst scatters back.
VEIL_C = np.array([0.50, 0.56, 0.68], np.float32)
SCAR_C = np.array([0.88, 0.80, 0.80], np.float32)
CYST_C = np.array([0.95, 0.90, 0.80], np.float32)


@dataclass(frozen=True, slots=True)
class Lesion:
    """Place of a lesion and its effect on the light that the skin reflects."""

    mask_HW: NDArray[np.bool_]
    depth_HW: Field  # 1 in the centre, 0 on the border, negative outside
    absorbed_HWC: Field  # optical density
    scattered_HW: tuple[tuple[Field, NDArray[np.float32]], ...]  # share of light, its colour

    def over(self, skin_HWC: Field) -> Field:
        """The image of the skin with the lesion."""
        image_HWC = skin_HWC * np.exp(-self.absorbed_HWC)
        for share_HW, colour_C in self.scattered_HW:
            image_HWC += share_HW[..., None] * (colour_C - image_HWC)
        return np.asarray(image_HWC, dtype=np.float32)


def melanoma(rng: Rng, side_px: int) -> Lesion:
    """Large, lopsided, ragged; several colours in patches, an atypical network, a veil."""
    size = rng.uniform(0.2, 0.32)
    depth_HW = _depth(rng, side_px, size, swing=0.3, waves=9, ragged=0.085, aspect=(1.05, 1.5))
    # The border is abrupt on one side and fades on the other.
    side_HW = ramp(noise(rng, side_px, 0.6), -0.8, 0.8)
    alpha_HW = side_HW * ramp(depth_HW, -0.08, 0.08) + (1 - side_HW) * ramp(depth_HW, -0.12, 0.3)
    patch_HW = noise(rng, side_px, 0.3, 4)
    blotch_HW = alpha_HW * ramp(noise(rng, side_px, 0.28, 4) + 0.5 * patch_HW, -0.4, 1.9)
    net_HW = mesh(rng, side_px, rng.uniform(0.018, 0.03), 0.48)
    net_HW *= alpha_HW * ramp(noise(rng, side_px, 0.2, 2), -0.6, 1.4)
    specks_HW = dots(rng, ramp(-np.abs(depth_HW - 0.12), -0.2, -0.1), 40, (0.003, 0.009))
    base_HW = alpha_HW * (rng.uniform(0.5, 0.95) + 0.25 * patch_HW).clip(0.2)
    absorbed_HWC = (
        _tinted(base_HW + 0.4 * net_HW, BROWN_C)
        + _tinted(rng.uniform(0.9, 1.5) * blotch_HW + 0.4 * specks_HW + 0.1 * net_HW, DARK_C)
        + _tinted(alpha_HW * ramp(noise(rng, side_px, 0.25, 3), 0.2, 1.8) * 0.35, RED_C)
    )
    inner_HW = ramp(depth_HW, 0.05, 0.45)
    veil_HW = inner_HW * ramp(noise(rng, side_px, 0.3, 4), -0.3, 1.8) * rng.uniform(0.3, 0.65)
    scar_HW = inner_HW * ramp(noise(rng, side_px, 0.22, 3), 0.8, 2.4) * 0.5
    return Lesion(_mask(depth_HW), depth_HW, absorbed_HWC, ((veil_HW, VEIL_C), (scar_HW, SCAR_C)))


def keratosis(rng: Rng, side_px: int) -> Lesion:
    """Waxy and stuck on: a sharp edge, dull tan to grey-brown, cysts, openings and fissures."""
    size = rng.uniform(0.15, 0.28)
    depth_HW = _depth(rng, side_px, size, swing=0.16, waves=6, ragged=0.035, aspect=(1.0, 1.45))
    alpha_HW = ramp(depth_HW, -0.015, 0.035)
    lumps_HW = noise(rng, side_px, 0.07, 3)
    strength = rng.uniform(0.35, 0.85)
    grey = rng.uniform(0.05, 0.55)
    fissures_HW = ramp(-np.abs(noise(rng, side_px, 0.13, 2)), -0.16, -0.02) * alpha_HW
    rim_HW = alpha_HW * ramp(-np.abs(depth_HW - 0.05), -0.08, 0.0)
    waxy_HW = alpha_HW * (0.8 + 0.16 * lumps_HW) * strength
    inside_HW = ramp(depth_HW, 0.06, 0.12)
    openings_HW = dots(rng, inside_HW, int(rng.integers(2, 12)), (0.005, 0.011))
    cysts_HW = dots(rng, inside_HW, int(rng.integers(6, 22)), (0.004, 0.009))
    absorbed_HWC = (
        _tinted(waxy_HW * (1 - grey) + 0.22 * strength * rim_HW, TAN_C + 0.5 * BROWN_C)
        + _tinted(waxy_HW * grey, GREY_C)
        + _tinted(0.22 * fissures_HW + 0.75 * openings_HW, BROWN_C)
        + _tinted(0.35 * openings_HW, DARK_C)
    )
    # The surface is raised and greasy: lumps shine on the side that faces the lamp.
    light_HW = cv2.Sobel(lumps_HW, cv2.CV_32F, 1, 1, ksize=3)
    shine_HW = alpha_HW * ramp(np.asarray(light_HW / (light_HW.std() + 1e-6)), 0.8, 2.6) * 0.22
    return Lesion(
        _mask(depth_HW), depth_HW, absorbed_HWC, ((shine_HW, SCAR_C), (0.8 * cysts_HW, CYST_C))
    )


def nevus(rng: Rng, side_px: int) -> Lesion:
    """Round and symmetric, one hue, a border that fades evenly, a regular network or globules."""
    size = rng.uniform(0.11, 0.24)
    depth_HW = _depth(rng, side_px, size, swing=0.07, waves=5, ragged=0.06, aspect=(1.0, 1.25))
    alpha_HW = ramp(depth_HW, -0.16, rng.uniform(0.12, 0.4))
    body_HW = alpha_HW * (0.6 + 0.4 * ramp(depth_HW, 0.0, 0.8))
    body_HW *= rng.uniform(0.4, 1.1) * (1.0 + 0.13 * noise(rng, side_px, 0.06, 4))
    if rng.random() < 0.75:
        net_HW = mesh(rng, side_px, rng.uniform(0.016, 0.024), 0.32)
        fade_HW = ramp(noise(rng, side_px, 0.2, 2), -2.0, 0.5) * (
            1 - 0.6 * ramp(depth_HW, 0.4, 0.9)
        )
        body_HW *= 1.0 + rng.uniform(0.4, 0.9) * (net_HW - 0.45) * fade_HW
    else:
        body_HW += 0.3 * dots(rng, ramp(depth_HW, 0.05, 0.1), 80, (0.005, 0.009)) * alpha_HW
    # A nevus has one hue throughout, which differs between nevi: tan, brown or nearly black.
    dark, pink = rng.uniform(0.0, 0.5), rng.uniform(0.0, 0.3) * (rng.random() < 0.4)
    hue_C = (1 - dark) * BROWN_C + dark * DARK_C + np.float32(pink) * RED_C
    return Lesion(_mask(depth_HW), depth_HW, _tinted(body_HW, hue_C), ())


def _depth(
    rng: Rng,
    side_px: int,
    size: float,
    *,
    swing: float,
    waves: int,
    ragged: float,
    aspect: tuple[float, float],
) -> Field:
    """Depth of each pixel inside the lesion, as a share of the radius in its direction."""
    room = max(0.5 - 1.35 * size, 0.02)
    centre_xy = tuple(0.5 + rng.uniform(-room, room, 2) * 0.6)
    bend_HW2 = np.stack([noise(rng, side_px, 0.18, 2) for _ in "xy"], -1) * (0.12 * ragged)
    place = polar(
        side_px, (centre_xy[0], centre_xy[1]), rng.uniform(*aspect), rng.uniform(0, 3.14), bend_HW2
    )
    border_HW = size * fourier_radius(rng, place.angle_HW, swing, waves)
    depth_HW = 1.0 - place.radius_HW / border_HW
    return np.asarray(depth_HW + ragged * noise(rng, side_px, 0.05, 3), dtype=np.float32)


def _mask(depth_HW: Field) -> NDArray[np.bool_]:
    """The largest connected region inside, with holes filled, as annotators outline a lesion."""
    inside_HW = (depth_HW > 0.0).astype(np.uint8)
    contours, _ = cv2.findContours(inside_HW, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled_HW = np.zeros_like(inside_HW)
    if contours:
        cv2.drawContours(filled_HW, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled_HW.astype(np.bool_)


def _tinted(amount_HW: NDArray[np.floating], absorption_C: NDArray[np.floating]) -> Field:
    return np.asarray(amount_HW[..., None] * absorption_C, dtype=np.float32)
