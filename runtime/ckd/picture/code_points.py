"""Colours that a file tells as code points of H.273: of HDR and wide colours, which are refused.

Their samples, shown as sRGB, would be pale or dark. A profile, where there is one, says more.
"""

import struct
from pathlib import Path
from typing import Final

from ckd.contract.errors import InputError

# 1 and 13 are sRGB's, 6 and 5 those of older television with practically the same look, 2 is
# "unspecified".
_PLAIN_PRIMARIES: Final = (1, 2, 5, 6)
_PLAIN_CURVES: Final = (1, 2, 5, 6, 13)
_PNG_HEAD_BYTES: Final = 8
#: Boxes with the properties of an AVIF picture lie before its samples.
_AVIF_HEAD_BYTES: Final = 2**16
_AVIF_BOX: Final = b"colrnclx"


def check_code_points(path: Path, format_name: str, primaries: int, curve: int) -> None:
    """Raise `InputError` unless samples of these primaries and this curve are shown as they are."""
    if primaries not in _PLAIN_PRIMARIES or curve not in _PLAIN_CURVES:
        raise InputError(
            f"{path}: {format_name} with colours (H.273 primaries {primaries}, curve {curve}) that "
            "are not read; save it as JPEG"
        )


def check_file(path: Path, format_name: str) -> None:
    """Check what a PNG says in its cICP chunk, and AVIF in a box; other formats say nothing.

    Raises:
        InputError: as by `check_code_points`.
    """
    told = None
    if format_name == "PNG":
        told = _cicp_of_png(path)
    elif format_name == "AVIF":
        with path.open("rb") as file:
            _, found, rest = file.read(_AVIF_HEAD_BYTES).partition(_AVIF_BOX)
        told = struct.unpack(">HH", rest[:4]) if found and len(rest) >= 4 else None
    if told is not None:
        check_code_points(path, format_name, *told)


def _cicp_of_png(path: Path) -> tuple[int, int] | None:
    """Primaries and curve of a PNG (PNG specification, third edition, 11.3.2.6)."""
    with path.open("rb") as file:
        file.seek(_PNG_HEAD_BYTES)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"cICP" and length == 4:
                primaries, curve, *_ = file.read(length).ljust(4, b"\0")
                return primaries, curve
            file.seek(length + 4, 1)  # and its checksum
    return None
