"""HEIC, the photographs of phones, by `pi-heif` (the extra "heic")."""

from pathlib import Path
from typing import Any

from ckd.contract.errors import InputError
from ckd.picture.code_points import check_code_points
from ckd.picture.limits import Picture, check_size
from ckd.picture.plain import picture_of_pillow


def read_heic(path: Path) -> Picture:
    """Decode the primary picture of a HEIC file; the file says itself how it is turned.

    Raises:
        InputError: `pi-heif` is not installed, the size cannot be analysed, or the colours are of a
            kind (HDR) that cannot be shown right. What else it raises for a damaged file comes
            through as it is.
    """
    try:
        import pi_heif
    except ImportError:
        raise InputError(
            f"{path}: is a HEIC photograph, which needs the extra heic: "
            "pip install 'ckd-cascades[heic]'"
        ) from None
    file = pi_heif.open_heif(path)
    width, height = file.size
    check_size(str(path), height, width)
    if not file.info.get("icc_profile"):
        nclx: dict[str, Any] = file.info.get("nclx_profile") or {}
        told = nclx.get("color_primaries", 2), nclx.get("transfer_characteristics", 2)
        check_code_points(path, "HEIC", *told)
    notes = ("it holds several pictures: the main one was read",) if len(file) > 1 else ()
    shown = picture_of_pillow(path, file[file.primary_index].to_pillow())
    return Picture(shown.image_HWC, notes + shown.notes)
