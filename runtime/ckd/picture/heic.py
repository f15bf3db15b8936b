"""HEIC, the photographs of phones, by `pi-heif` (the extra "heic")."""

from pathlib import Path
from typing import Any

from ckd.contract.errors import InputError
from ckd.picture.limits import Picture, check_size
from ckd.picture.plain import picture_of_pillow

# H.273: code points of primaries and transfer functions that are shown as they are. 1 and 13 are
# sRGB's, 6 and 5 those of older television with practically the same look, 2 is "unspecified".
_PLAIN_PRIMARIES = (1, 2, 5, 6)
_PLAIN_CURVES = (1, 2, 5, 6, 13)


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
    check_size(path.name, height, width)
    if not file.info.get("icc_profile"):
        _check_colours(path, file.info.get("nclx_profile") or {})
    notes = ("it holds several pictures: the main one was read",) if len(file) > 1 else ()
    shown = picture_of_pillow(path, file[file.primary_index].to_pillow())
    return Picture(shown.image_HWC, notes + shown.notes)


def _check_colours(path: Path, nclx: dict[str, Any]) -> None:
    primaries, curve = nclx.get("color_primaries", 2), nclx.get("transfer_characteristics", 2)
    if primaries not in _PLAIN_PRIMARIES or curve not in _PLAIN_CURVES:
        raise InputError(
            f"{path}: HEIC with colours (H.273 primaries {primaries}, curve {curve}) that are not "
            "read; save it as JPEG"
        )
