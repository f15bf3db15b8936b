"""How findings are written to files: PNG and JSON, each by one writer.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.finding.explanation import draw_explanation
from ckd.finding.finding import Finding
from ckd.finding.overlay import draw_overlay

#: Two whole numbers on lines of their own; no text of JSON holds a line break.
_PAIR = re.compile(r"\[\n\s+(-?\d+),\n\s+(-?\d+)\n\s+\]")


def save_finding(
    finding: Finding,
    folder: Path,
    stem: str,
    image_HWC: NDArray[np.uint8],
    source: str | None = None,
    *,
    overlay_HWC: NDArray[np.uint8] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Write ``<stem>_mask.png`` (0/255), ``<stem>_overlay.png`` and ``<stem>.json``.

    With class maps also ``<stem>_explanation.png``, see `draw_explanation`.

    Args:
        finding: to write.
        folder: created if missing.
        stem: of the file names.
        image_HWC: the RGB image that was analysed.
        source: the image's origin, written into the JSON as "image".
        overlay_HWC: the overlay, if it is drawn already.
        about: further facts about the image, written into the JSON.

    Returns:
        File names by kind: "mask", "overlay", "json", "explanation".

    Raises:
        OSError: a file cannot be written.
    """
    if overlay_HWC is None:
        overlay_HWC = draw_overlay(image_HWC, finding)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("mask", "explanation"):  # of an earlier finding of that name
        (folder / f"{stem}_{kind}.png").unlink(missing_ok=True)
    written = {"json": f"{stem}.json", "overlay": f"{stem}_overlay.png"}
    write_png(folder / written["overlay"], overlay_HWC)
    if finding.mask_HW is not None:
        written["mask"] = f"{stem}_mask.png"
        write_png(folder / written["mask"], finding.mask_HW.astype(np.uint8) * 255)
    if finding.class_maps:
        written["explanation"] = f"{stem}_explanation.png"
        write_png(folder / written["explanation"], draw_explanation(image_HWC, finding))
    origin = {} if source is None else {"image": source}
    write_json(folder / written["json"], {**origin, **(about or {}), **finding.as_dict()})
    return written


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 RGB [H, W, 3] or grey [H, W] as PNG.

    Raises:
        InputError: the image has no pixels.
    """
    try:
        content = png_of(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    path.write_bytes(content)


def png_of(image: NDArray[np.uint8]) -> bytes:
    """The content of a PNG of uint8 RGB [H, W, 3] or grey [H, W]; `InputError` without pixels."""
    # Level 1: four times faster than OpenCV's default on a photograph, a tenth larger.
    stored = image[..., ::-1] if image.ndim == 3 else image
    encoded, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise InputError(f"an image of shape {list(image.shape)} cannot be a PNG")
    return data.tobytes()


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON for people and programs to read; pairs of numbers take one line."""
    path.write_text(_PAIR.sub(r"[\1, \2]", json.dumps(record, indent=2)) + "\n")
