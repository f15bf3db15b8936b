"""CIE L*a*b* of light, and how far two colours lie apart (CIEDE2000).

Suffix N: colours in rows, three numbers each. Light is that of sRGB, linear, 0 to 1.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.float64]

#: Light of sRGB to XYZ, adapted to the white D50 of printed charts (Bradford).
_XYZ_OF_LIGHT: Final = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_WHITE: Final = _XYZ_OF_LIGHT.sum(axis=1)
_SMALL: Final = 6 / 29


def lab_of_light(light_N3: Colours) -> Colours:
    """L*, a*, b* for the white D50; light may lie outside 0 to 1."""
    share_N3 = light_N3 @ _XYZ_OF_LIGHT.T / _WHITE
    root_N3 = np.where(share_N3 > _SMALL**3, np.cbrt(share_N3), share_N3 / (3 * _SMALL**2) + 4 / 29)
    x, y, z = root_N3.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def light_of_lab(lab_N3: Colours) -> Colours:
    """The inverse of `lab_of_light`; outside 0 to 1 for colours that a screen cannot show."""
    y = (lab_N3[:, 0] + 16) / 116
    root_N3 = np.stack([y + lab_N3[:, 1] / 500, y, y - lab_N3[:, 2] / 200], axis=1)
    share_N3 = np.where(root_N3 > _SMALL, root_N3**3, 3 * _SMALL**2 * (root_N3 - 4 / 29))
    return np.asarray((share_N3 * _WHITE) @ np.linalg.inv(_XYZ_OF_LIGHT).T)


def delta_e_2000(one_N3: Colours, other_N3: Colours) -> NDArray[np.float64]:
    """CIEDE2000 of colours in L*, a*, b* (Sharma 2005, Color Res. Appl. 30:21); about 1 is seen."""
    lightness_1, a_1, b_1 = one_N3.T
    lightness_2, a_2, b_2 = other_N3.T
    mean_chroma = (np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2
    greyness = 0.5 * (1 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)))
    a_1, a_2 = (1 + greyness) * a_1, (1 + greyness) * a_2
    chroma_1, chroma_2 = np.hypot(a_1, b_1), np.hypot(a_2, b_2)
    hue_1, hue_2 = np.degrees(np.arctan2(b_1, a_1)) % 360, np.degrees(np.arctan2(b_2, a_2)) % 360
    is_grey = chroma_1 * chroma_2 == 0
    turn = np.where(is_grey, 0.0, (hue_2 - hue_1 + 180) % 360 - 180)
    hue = np.where(is_grey, hue_1 + hue_2, (hue_1 + turn / 2) % 360)
    chroma, lightness = (chroma_1 + chroma_2) / 2, (lightness_1 + lightness_2) / 2
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    per_lightness = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    per_chroma, per_hue = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    of_lightness = (lightness_2 - lightness_1) / per_lightness
    of_chroma = (chroma_2 - chroma_1) / per_chroma
    of_hue = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(np.radians(turn / 2)) / per_hue
    squared = of_lightness**2 + of_chroma**2 + of_hue**2 + rotation * of_chroma * of_hue
    return np.asarray(np.sqrt(np.maximum(squared, 0)))
