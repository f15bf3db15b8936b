"""The contact sheet of masks that `ckd-train data check` suspects: each as it lies, and undone.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.contract.disk import lasting_folder
from ckd.contract.errors import InputError, UsageError
from ckd.data.agreement import UNDOING
from ckd.data.masks import read_mask
from ckd.data.report import DataReport
from ckd.data.suspects import Suspect
from ckd.finding.files import write_json
from ckd.finding.overlay import draw_border
from ckd.picture.decode import read_rgb
from ckd.train.evaluation import plots

#: More do not help to see what is wrong.
MAX_SHOWN = 60
_TILE_PX = 300
_AS_IT_LIES_RGB, _UNDONE_RGB = (255, 64, 64), (64, 224, 144)


def suspects_sheet(title: str, suspects: Sequence[Suspect]) -> Figure:
    """Photographs with the outline of their mask, and where it would lie better, in sections.

    Of more than `MAX_SHOWN` suspects some of each kind are shown. Files that have gone since are
    left out.
    """
    sections: dict[str, list[plots.Tile]] = {}
    kinds = {suspect.code for suspect in suspects}
    counts = dict.fromkeys(kinds, 0)
    for suspect in suspects:
        if counts[suspect.code] >= MAX_SHOWN // len(kinds):
            continue
        try:
            tile = plots.Tile(_outlined(suspect), (suspect.mask.stem[-30:], suspect.what))
        except InputError:
            continue
        counts[suspect.code] += 1
        sections.setdefault(suspect.code.replace("-", " "), []).append(tile)
    legend = {"as it lies": _AS_IT_LIES_RGB, "turned back": _UNDONE_RGB}
    return plots.contact_sheet(sections, legend, f"Masks to look at\n{title}")


def write_suspects(report: DataReport, folder: Path) -> Path:
    """Write the sheet as ``suspects.png``, and the report beside it as ``check.json``.

    Raises:
        UsageError: the folder cannot be written to.
    """
    path = folder / "suspects.png"
    try:
        lasting_folder(folder)
        write_json(folder / "check.json", report.as_dict())
        plots.save(suspects_sheet(f"{report.name}, {report.root}", report.suspects), path, dpi=100)
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror})") from error
    return path


def _outlined(suspect: Suspect) -> NDArray[np.uint8]:
    image_HWC = read_rgb(suspect.image)
    mask_HW = read_mask(suspect.mask, image_HWC.shape)
    scale = _TILE_PX / max(image_HWC.shape)
    size = (max(1, round(image_HWC.shape[1] * scale)), max(1, round(image_HWC.shape[0] * scale)))
    small_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    outlines = [(mask_HW, _AS_IT_LIES_RGB)]
    if suspect.undo is not None:
        outlines.append((UNDOING[suspect.undo](mask_HW), _UNDONE_RGB))
    for outline_HW, colour in outlines:
        small = cv2.resize(outline_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        draw_border(small_HWC, np.asarray(small >= 0.5), colour, 2)
    return small_HWC
