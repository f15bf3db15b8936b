"""The colours of a JP2 file, which its boxes tell (ISO 15444-1, annex I) and Pillow passes over."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ckd.contract.errors import InputError

_SIGNATURE: Final = b"\0\0\0\x0cjP  "
_LENGTH_BYTES = 8  # of a box and its name
_ENUMERATED: Final = 1
#: Colour spaces that Pillow shows as they are: CMYK, sRGB, grey and sYCC.
_SHOWN: Final = (12, 16, 17, 18)
#: Profiles are far smaller.
_MAX_BOX_BYTES = 16 * 2**20


def jp2_profile(path: Path) -> bytes | None:
    """The profile that a JPEG 2000 file embeds; None if it has none, or is a bare code stream.

    Raises:
        InputError: its colours are of a kind that cannot be shown right, such as CIELab.
    """
    with path.open("rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            return None
        file.seek(0, 2)
        content = _first(file, b"colr", *_first_place(file, b"jp2h", 0, file.tell()))
    if len(content) < 3:
        return None
    if content[0] != _ENUMERATED:
        return content[3:]
    space = int.from_bytes(content[3:7], "big")
    if space not in _SHOWN:
        raise InputError(
            f"{path}: JPEG 2000 with colours (space {space}) that are not read; save it as RGB"
        )
    return None


def _first(file: BinaryIO, name: bytes, start: int, end: int) -> bytes:
    start, end = _first_place(file, name, start, end)
    file.seek(start)
    return file.read(min(end - start, _MAX_BOX_BYTES))


def _first_place(file: BinaryIO, name: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the content of the first box of that name lies; an empty place if there is none."""
    for box_name, box_start, box_end in _boxes(file, start, end):
        if box_name == name:
            return box_start, box_end
    return end, end


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Names of boxes and where the content of each lies."""
    while start + _LENGTH_BYTES <= end:
        file.seek(start)
        head = file.read(2 * _LENGTH_BYTES)
        length, skipped = int.from_bytes(head[:4], "big"), _LENGTH_BYTES
        if length == 1:  # it is told in 64 bits
            length, skipped = int.from_bytes(head[8:], "big"), 2 * _LENGTH_BYTES
        box_end = end if length == 0 else min(start + length, end)
        if box_end < start + skipped:
            return
        yield head[4:8], start + skipped, box_end
        start = box_end
