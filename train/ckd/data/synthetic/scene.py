"""Surroundings of a generated lesion: skin, hair, gel, ruler and optics."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.synthetic.fields import Field, Rng, curve_px, noise, polar, ramp

# Skin as cross-polarised and contact dermoscopes show it, RGB in [0, 1].
_TONES_KC = np.array(
    [
        [0.90, 0.80, 0.74],  # fair
        [0.86, 0.66, 0.60],  # pink
        [0.78, 0.58, 0.44],  # tan
        [0.80, 0.76, 0.78],  # pale, cold light
        [0.66, 0.46, 0.35],  # brown
        [0.90, 0.63, 0.45],  # warm light
    ],
    np.float32,
)
_STICKERS_KC = np.array([[0.2, 0.68, 0.7], [0.93, 0.6, 0.12], [0.85, 0.8, 0.1]], np.float32)
_HAIR_KC = np.array([[0.16, 0.1, 0.07], [0.3, 0.17, 0.09], [0.07, 0.06, 0.06]], np.float32)


def skin(rng: Rng, side_px: int) -> Field:
    """Skin of one tone with mottling, redness from vessels, and fine furrows."""
    mix_K = rng.dirichlet(np.full(len(_TONES_KC), 0.35)).astype(np.float32)
    tone_C = mix_K @ _TONES_KC
    melanin_HW = 0.03 * noise(rng, side_px, 0.4, 3) + 0.02 * noise(rng, side_px, 0.025, 2)
    blush_HW = rng.uniform(0.01, 0.04) * noise(rng, side_px, 0.12, 4)
    # Furrows are the zero crossings of two stretched noises.
    furrows_HW = np.zeros((side_px, side_px), np.float32)
    for _ in range(2):
        stretched = rng.standard_normal((int(rng.integers(16, 30)), 70), dtype=np.float32)
        turned = stretched if rng.random() < 0.5 else np.ascontiguousarray(stretched.T)
        line_HW = cv2.resize(turned, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        furrows_HW += ramp(-np.abs(np.asarray(line_HW)), -0.35, 0.0)
    density_HWC = (
        melanin_HW[..., None] * np.array([0.5, 1.0, 1.5], np.float32)
        + blush_HW[..., None] * np.array([0.1, 1.0, 0.8], np.float32)
        + (rng.uniform(0.0, 0.035) * furrows_HW)[..., None]
    )
    return np.asarray(tone_C * np.exp(-density_HWC), dtype=np.float32)


def hairs(rng: Rng, image_HWC: Field) -> None:
    """Draw a few or many hairs, mostly combed one way, each with a faint shadow."""
    side_px = image_HWC.shape[0]
    cover_HW = np.zeros((side_px, side_px), np.uint8)
    comb = rng.uniform(0.0, 2.0 * np.pi)
    for _ in range(int(rng.choice([4, 8, 14, 28], p=[0.4, 0.3, 0.2, 0.1]))):
        start = rng.uniform(-0.1, 1.1, 2)
        angle = comb + rng.normal(0.0, 0.5)
        reach = rng.uniform(0.25, 0.9) * np.array([np.cos(angle), np.sin(angle)])
        bend = start + 0.5 * reach + rng.normal(0.0, 0.1, 2)
        points = curve_px(start * side_px, bend * side_px, (start + reach) * side_px)
        width_px = max(1, round(rng.uniform(0.002, 0.0085) * side_px))
        weight = int(rng.integers(150, 245))
        cv2.polylines(cover_HW, [points], False, weight, width_px, cv2.LINE_AA, 4)
    colour_C = _HAIR_KC[rng.integers(len(_HAIR_KC))]
    blend(image_HWC, cover_HW.astype(np.float32) / 255.0, colour_C)


def ruler(rng: Rng, image_HWC: Field) -> None:
    """Draw a millimetre scale near one edge, long and short ticks along a thin line."""
    side_px = image_HWC.shape[0]
    cover_HW = np.zeros((side_px, side_px), np.uint8)
    angle = rng.choice([0.0, 0.5 * np.pi, rng.uniform(-0.6, 0.6)])
    along, across = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    middle = 0.5 + across * rng.choice([-1, 1]) * rng.uniform(0.34, 0.42)
    start = middle - along * rng.uniform(0.16, 0.25)
    pitch = rng.uniform(0.018, 0.032)
    ticks = int(0.45 / pitch)
    ends = [(start, start + along * pitch * ticks)] if rng.random() < 0.7 else []
    for tick in range(ticks + 1):
        foot = start + along * pitch * tick
        ends.append((foot, foot + across * (0.03 if tick % 5 == 0 else 0.016)))
    for foot, head in ends:
        points = np.round(np.array([foot, head]) * side_px * 16).astype(np.int32)
        cv2.line(cover_HW, points[0].tolist(), points[1].tolist(), 200, 1, cv2.LINE_AA, 4)
    blend(image_HWC, cover_HW.astype(np.float32) / 255.0, np.array([0.1, 0.09, 0.12], np.float32))


def bubbles(rng: Rng, image_HWC: Field) -> None:
    """Draw bubbles in the contact gel: a bright rim, a darker ring in it, a glint."""
    side_px = image_HWC.shape[0]
    bright_HW = np.zeros((side_px, side_px), np.uint8)
    dark_HW = np.zeros((side_px, side_px), np.uint8)
    for _ in range(int(rng.integers(1, 9))):
        x, y = (rng.uniform(0.0, 1.0, 2) * side_px * 16).astype(int).tolist()
        radius = int(rng.uniform(0.006, 0.035) * side_px * 16)
        cv2.circle(dark_HW, (x, y), int(radius * 0.85), 70, 1, cv2.LINE_AA, 4)
        cv2.circle(bright_HW, (x, y), radius, 110, 1, cv2.LINE_AA, 4)
        glint = (x - radius // 2, y - radius // 2)
        cv2.circle(bright_HW, glint, max(radius // 4, 8), 230, -1, cv2.LINE_AA, 4)
    blend(image_HWC, dark_HW.astype(np.float32) / 255.0, np.zeros(3, np.float32))
    blend(image_HWC, bright_HW.astype(np.float32) / 255.0, np.ones(3, np.float32))


def sticker(rng: Rng, image_HWC: Field, keep_clear_HW: NDArray[np.bool_]) -> None:
    """Draw a coloured disc at the edge, as one clinic of the archive had; never on the lesion."""
    side_px = image_HWC.shape[0]
    angle, radius = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.1, 0.22)
    centre = 0.5 + 0.55 * np.array([np.cos(angle), np.sin(angle)])
    flat_HW2 = np.zeros((side_px, side_px, 2), np.float32)
    distance_HW = polar(side_px, (centre[0], centre[1]), 1.0, 0.0, flat_HW2).radius_HW
    cover_HW = 1.0 - ramp(distance_HW, radius - 0.004, radius + 0.004)
    if not (keep_clear_HW & (cover_HW > 0.0)).any():
        grain_HW = 1.0 + 0.04 * noise(rng, side_px, 0.02, 2)
        colour_C = _STICKERS_KC[rng.integers(len(_STICKERS_KC))]
        blend(image_HWC, cover_HW, grain_HW[..., None] * colour_C)


def optics(rng: Rng, image_HWC: Field, blur: float | None = None) -> Field:
    """The image with uneven light, round field of view, blur, white balance and noise.

    Deviation of the blur, in shares of the side, is drawn where it is not given.
    """
    side_px = image_HWC.shape[0]
    flat_HW2 = np.zeros((side_px, side_px, 2), np.float32)
    centre = 0.5 + rng.normal(0.0, 0.03, 2)
    distance_HW = polar(side_px, (centre[0], centre[1]), 1.0, 0.0, flat_HW2).radius_HW
    light_HW = 1.0 - rng.uniform(0.1, 0.7) * distance_HW**2
    kind = rng.random()
    if kind < 0.2:  # the tube's edge is in view
        rim = rng.uniform(0.5, 0.62)
        light_HW *= 1.0 - 0.96 * ramp(distance_HW, rim, rim + rng.uniform(0.01, 0.07))
    elif kind < 0.4:  # only its shadow in the corners
        light_HW *= 1.0 - 0.7 * ramp(distance_HW, 0.52, 0.75)
    image_HWC = image_HWC * light_HW[..., None]
    image_HWC = image_HWC * rng.uniform(0.93, 1.07, 3).astype(np.float32) * rng.uniform(0.85, 1.1)
    drawn = rng.uniform(0.0012, 0.004)
    blur_px = (drawn if blur is None else blur) * side_px
    image_HWC = np.asarray(cv2.GaussianBlur(image_HWC, (0, 0), max(blur_px, 0.2)))
    grain_HWC = rng.standard_normal(image_HWC.shape, dtype=np.float32)
    return np.asarray(image_HWC + rng.uniform(0.004, 0.014) * grain_HWC, dtype=np.float32)


def blend(image_HWC: Field, cover_HW: Field, colour: Field) -> None:
    """Blend a colour over the image, in place; ``cover_HW`` is its opacity."""
    image_HWC += cover_HW[..., None] * (colour - image_HWC)
