"""What the save button stores: the frame, its mask, its overlay and the numbers."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import CkdError
from ckd.contract.explanation import draw_explanation
from ckd.runtime.live.view import Shown, result_json


def save_snapshot(folder: Path, shown: Shown) -> Path:
    """Write ``<stem>.png``, ``_mask.png``, ``_overlay.png`` and ``.json``; the overlay's path.

    With class maps also ``_explanation.png``.

    The stem holds the local time and the frame number, so nothing is ever overwritten.

    Raises:
        CkdError: the folder cannot be written to.
    """
    now = datetime.now().astimezone()
    stem = f"live_{now:%Y%m%d-%H%M%S-%f}_{shown.frame.index:06d}"
    overlay = folder / f"{stem}_overlay.png"
    record = {"image": f"{stem}.png", "saved_at": now.isoformat(), **result_json(shown)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_png(folder / f"{stem}.png", shown.frame.image_HWC)
        if shown.finding.mask_HW is not None:
            mask = shown.finding.mask_HW.astype(np.uint8) * np.uint8(255)
            _write_png(folder / f"{stem}_mask.png", mask)
        if shown.finding.class_maps:
            explained_HWC = draw_explanation(shown.frame.image_HWC, shown.finding)
            _write_png(folder / f"{stem}_explanation.png", explained_HWC)
        _write_png(overlay, shown.overlay_HWC)
        (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CkdError(
            f"{folder}: cannot save there ({error.strerror}); free space or name another folder"
        ) from error
    return overlay


def _write_png(path: Path, image: NDArray[Any]) -> None:
    # Not cv2.imwrite: it answers a full disk with False, and some paths with nothing at all.
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded, buffer = cv2.imencode(".png", image)
    if not encoded:
        raise CkdError(f"{path.name}: OpenCV could not encode a PNG of shape {list(image.shape)}")
    path.write_bytes(buffer.tobytes())
