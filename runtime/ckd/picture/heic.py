"""HEIC, the photographs of phones, by `pi-heif` (the extra "heic")."""

from pathlib import Path
from typing import Any

from ckd.contract.errors import InputError
from ckd.picture.code_points import check_code_points
from ckd.picture.limits import Picture, check_size, damaged
from ckd.picture.plain import picture_of_pillow

#: The list of items lies before the samples.
_HEAD_BYTES = 2**20


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
    _check_names(path)
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


def _check_names(path: Path) -> None:
    """Refuse kinds of items that are no text: pi-heif 1.4 ends the whole process at one.

    They stand in boxes "infe" within "iinf" (ISO 14496-12, 8.11.6).
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    list_at = head.find(b"iinf")
    if list_at < 0:
        return
    end = list_at - 4 + int.from_bytes(head[list_at - 4 : list_at], "big")
    at = list_at + (10 if head[list_at + 4 : list_at + 5] == b"\0" else 12)
    while at + 12 <= min(end, len(head)):
        length = int.from_bytes(head[at : at + 4], "big")
        kind_at = 16 if head[at + 8] == 2 else 18  # the item's number has two bytes or four
        try:
            head[at + kind_at : at + length].decode()
        except UnicodeDecodeError:
            raise damaged(path, "the names of its parts are no text") from None
        at += max(length, 8)
