"""What the save button stores: the frame, its mask, its overlay and the numbers."""

from datetime import datetime
from pathlib import Path

import numpy as np

from ckd.contract.errors import CkdError
from ckd.finding.explanation import draw_explanation
from ckd.finding.files import write_json, write_png
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
        write_png(folder / f"{stem}.png", shown.frame.image_HWC)
        if shown.finding.mask_HW is not None:
            mask = shown.finding.mask_HW.astype(np.uint8) * np.uint8(255)
            write_png(folder / f"{stem}_mask.png", mask)
        if shown.finding.class_maps:
            explained_HWC = draw_explanation(shown.frame.image_HWC, shown.finding)
            write_png(folder / f"{stem}_explanation.png", explained_HWC)
        write_png(overlay, shown.overlay_HWC)
        write_json(folder / f"{stem}.json", record)
    except OSError as error:
        raise CkdError(
            f"{folder}: cannot save there ({error.strerror}); free space or name another folder"
        ) from error
    return overlay
