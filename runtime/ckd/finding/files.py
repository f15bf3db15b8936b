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

from ckd.contract.disk import lasting_folder
from ckd.contract.errors import InputError
from ckd.contract.whole_file import FileGroup, replace_file
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

    With class maps also ``<stem>_explanation.png``, see `draw_explanation`. The JSON comes last:
    where it is, all files of this finding are. Each is whole or absent whatever happens; lasting
    are they once the folder was synced (`ckd.contract.disk.sync_folder`).

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
        OSError: a file cannot be written, and none of them is then.
    """
    drawings = {"overlay": draw_overlay(image_HWC, finding) if overlay_HWC is None else overlay_HWC}
    if finding.mask_HW is not None:
        drawings["mask"] = finding.mask_HW.astype(np.uint8) * np.uint8(255)
    if finding.class_maps:
        drawings["explanation"] = draw_explanation(image_HWC, finding)
    origin = {} if source is None else {"image": source}
    record = {**origin, **(about or {}), **finding.as_dict()}
    written = {"json": f"{stem}.json", **{kind: f"{stem}_{kind}.png" for kind in drawings}}
    lasting_folder(folder)
    with FileGroup(folder) as group:
        for kind in ("mask", "explanation"):  # of an earlier finding of that name
            if kind not in drawings:
                group.remove(f"{stem}_{kind}.png")
        for kind, drawing in drawings.items():
            group.write(written[kind], _png(drawing, folder / written[kind]))
        group.write(written["json"], _json(record))
    return written


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 RGB [H, W, 3] or grey [H, W] as PNG.

    Raises:
        InputError: the image has no pixels.
        OSError: it cannot be written; an earlier file stays.
    """
    replace_file(path, _png(image, path))


def write_json(path: Path, record: Mapping[str, Any], *, is_lasting: bool = True) -> None:
    """Write a record as JSON for people and programs to read; pairs of numbers take one line.

    Args:
        path: of the file.
        record: of what JSON can express.
        is_lasting: False where the folder is synced later, which saves time now.

    Raises:
        OSError: it cannot be written; an earlier file stays.
    """
    if is_lasting:
        replace_file(path, _json(record))
        return
    with FileGroup(path.parent) as group:
        group.write(path.name, _json(record))


def png_of(image: NDArray[np.uint8]) -> bytes:
    """The content of a PNG of uint8 RGB [H, W, 3] or grey [H, W]; `InputError` without pixels."""
    # Level 1: four times faster than OpenCV's default on a photograph, a tenth larger.
    stored = image[..., ::-1] if image.ndim == 3 else image
    encoded, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise InputError(f"an image of shape {list(image.shape)} cannot be a PNG")
    return data.tobytes()


def _png(image: NDArray[np.uint8], path: Path) -> bytes:
    try:
        return png_of(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _json(record: Mapping[str, Any]) -> bytes:
    return (_PAIR.sub(r"[\1, \2]", json.dumps(record, indent=2)) + "\n").encode()
