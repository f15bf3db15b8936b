"""What the save button writes: the frame, and all files of its finding."""

from datetime import datetime
from pathlib import Path

from ckd.contract.disk import lasting_folder, sync_folder
from ckd.contract.errors import CkdError
from ckd.contract.leftovers import discard
from ckd.finding.files import save_finding, write_png
from ckd.runtime.live.view import Shown


def save_snapshot(folder: Path, shown: Shown) -> Path:
    """Write the frame as ``<stem>.png``, and its finding as `save_finding` does.

    The stem holds the local time and the frame number, so nothing is ever overwritten. All files
    are on the disk when this returns; if one cannot be written, there is none of them.

    Returns:
        Path of the overlay.

    Raises:
        CkdError: the folder cannot be written to.
    """
    now = datetime.now().astimezone()
    stem = f"live_{now:%Y%m%d-%H%M%S-%f}_{shown.frame.index:06d}"
    about = {"saved_at": now.isoformat(), "frame": shown.frame.index, **shown.frame.about}
    frame = folder / f"{stem}.png"
    try:
        lasting_folder(folder)
        write_png(frame, shown.frame.image_HWC)
        written = save_finding(
            shown.finding, folder, stem, shown.frame.image_HWC, f"{stem}.png",
            overlay_HWC=shown.overlay_HWC, about=about,
        )  # fmt: skip
        sync_folder(folder)
    except OSError as error:
        discard(frame)
        raise CkdError(
            f"{folder}: cannot save there ({error.strerror}); free space or name another folder"
        ) from error
    return folder / written["overlay"]
