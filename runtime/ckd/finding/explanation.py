"""The picture of what speaks for a label: a class activation map over the photograph.

A class activation map (Zhou et al., CVPR 2016) says exactly what each place adds to a label's logit
in the classifier's last layer. It does not say what the network recognised there: in that layer the
receptive field of a place covers most of the photograph, and the map is coarse. It does not outline
a lesion or a structure in it, and a plausible map does not prove a diagnosis. It serves to detect
answers that depend on a ruler, on hair or on a dark corner.

Suffixes: H rows, W columns of the photograph; h, w of the map; C channels in RGB order.
"""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.finding import Finding
from ckd.finding.overlay import (
    draw_border,
    draw_lines,
    has_room_for_text,
    shade,
    text_width,
    unit_of,
    wrapped,
    write,
)
from ckd.finding.sentences import lesion_shown, shown

#: The log-odds that have the strongest colour. They are the same in every picture, so that colours
#: can be compared between images and bundles. e^10 are odds of 22 000 to 1.
FULL_LOG_ODDS: Final = 10.0
#: Colour of the lesion's border, which differs from every colour of the map.
BORDER_RGB: Final = (255, 255, 255)
_STRONGEST: Final = 0.65  # share of the colour at `FULL_LOG_ODDS`
_SKIN_GREY: Final = 170
_TEXT_RGB: Final = (255, 255, 255)


def evidence(
    class_maps: Mapping[str, NDArray[np.float32]], label: str, exclusive: bool
) -> NDArray[np.float32]:
    """What each place adds to the log-odds of a label, [h, w].

    For exclusive labels (softmax) only differences between logits matter, so the mean map of the
    other labels is subtracted. Otherwise (sigmoid) it is the label's own map.
    """
    own_hw = class_maps[label]
    other_maps = [map_hw for name, map_hw in class_maps.items() if name != label]
    if not exclusive or not other_maps:
        return own_hw
    return np.asarray(own_hw - np.mean(other_maps, axis=0), np.float32)


def draw_heat(image_HWC: NDArray[np.uint8], heat_hw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photograph in grey, with colours where ``heat_hw`` is above 0, the strongest from 1 on.

    The map is enlarged bilinearly, which adds no new extremes.
    """
    size_wh = (image_HWC.shape[1], image_HWC.shape[0])
    heat_HW = cv2.resize(np.clip(heat_hw, 0.0, None), size_wh, interpolation=cv2.INTER_LINEAR)
    level_HW = np.round(255 * np.clip(heat_HW, 0.0, 1.0)).astype(np.uint8)
    grey_HW = cv2.cvtColor(np.ascontiguousarray(image_HWC), cv2.COLOR_RGB2GRAY)
    share_HW1 = np.arange(256, dtype=np.float32)[level_HW, None] * np.float32(_STRONGEST / 255)
    mixed_HWC = _colours()[level_HW] * share_HW1 + grey_HW[..., None] * (1 - share_HW1)
    return np.asarray(np.round(mixed_HWC), np.uint8)


def colour_over_skin(level: float) -> tuple[int, int, int]:
    """Colour of a level between 0 and 1 over skin of medium brightness, for legends."""
    skin_HWC = np.full((1, 1, 3), _SKIN_GREY, np.uint8)
    red, green, blue = draw_heat(skin_HWC, np.array([[level]], np.float32))[0, 0].tolist()
    return red, green, blue


def _colours() -> NDArray[np.uint8]:
    """The colour of each level, [256, 3].

    It is the map "inferno", whose brightness grows evenly, so that colour-blind people can read it;
    its palest end is left out, because skin has such colours.
    """
    levels_256x1 = np.linspace(0, 235, 256).astype(np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(levels_256x1, cv2.COLORMAP_INFERNO)[:, 0, ::-1], np.uint8)


def draw_explanation(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
    """What speaks for the most probable label, with the lesion's border and a colour bar.

    Places that speak against it stay grey. The scale ends at `FULL_LOG_ODDS` in every picture.
    Without a finding all is grey, and the reason is written there.

    Raises:
        ValueError: the finding has no class maps.
    """
    unit = unit_of(image_HWC)
    if finding.reason is not None:
        canvas = draw_heat(image_HWC, np.zeros((1, 1), np.float32))
        if has_room_for_text(canvas):
            lines = wrapped(finding.headline, 32)
            draw_lines(canvas, lines, unit, num_bold=len(lines))
        return canvas
    if not finding.class_maps:
        raise ValueError("no class maps; export the bundle with --explain")
    label = max(finding.probabilities, key=finding.probabilities.__getitem__)
    heat_hw = evidence(finding.class_maps, label, finding.exclusive) / FULL_LOG_ODDS
    canvas = draw_heat(image_HWC, np.asarray(heat_hw, np.float32))
    if finding.mask_HW is not None:
        draw_border(canvas, finding.mask_HW, BORDER_RGB, max(1, round(1.5 * unit)))
    if has_room_for_text(canvas):
        title = shown("speaks_for", label=lesion_shown(label))
        lines = [title, *wrapped(finding.share_shown(label), 44)]
        draw_lines(canvas, lines, unit)
        _draw_scale(canvas, unit)
    return canvas


def _draw_scale(canvas_HWC: NDArray[np.uint8], unit: float) -> None:
    """Draw the scale of colours in the bottom left corner on a darkened strip."""
    small, pad, height = 0.8 * unit, round(8 * unit), canvas_HWC.shape[0]
    low, high = "log-odds 0", f"{FULL_LOG_ODDS:.0f} and more"
    bar_px, thick_px = round(90 * unit), round(9 * unit)
    start = pad + text_width(low, small) + pad
    end = start + bar_px
    shade(canvas_HWC[height - round(20 * unit) :, : end + pad + text_width(high, small) + pad])
    base = height - round(6 * unit)
    write(canvas_HWC, low, pad, base, _TEXT_RGB, small, 1.0)
    write(canvas_HWC, high, end + pad, base, _TEXT_RGB, small, 1.0)
    bar = [colour_over_skin(level) for level in np.linspace(0, 1, bar_px)]
    canvas_HWC[base - thick_px : base, start:end] = np.array(bar, np.uint8)
