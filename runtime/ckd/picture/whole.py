"""A picture that arrives as bytes and not in a file, JPEG or PNG: decoded if it is whole.

The same bytes in a file give the same pixels, with the EXIF orientation and the colour profile
applied. Bytes of a camera are judged more strictly than a file. Its JPEG must be one picture from
its first marker to its last, because a camera that is too slow sends the start of a frame and then
the next one; and it must be of a kind in which libjpeg sees damage.

What no decoder can see: most flips of single bits inside a JPEG's data change a few blocks and
nothing else, and a JPEG has no check sum. Two pictures that are joined inside their data, with no
marker between, look whole if the number of blocks fits.

Suffixes: H rows, W columns, C channels.
"""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.picture.jpeg import picture_of_jpeg
from ckd.picture.limits import check_size, damaged
from ckd.picture.plain import picture_of_pillow

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_NAME = Path("picture")  # the decoders name a file in their messages
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
# Markers of ITU-T T.81, table B.1, that such a picture may hold; the rest is damage.
_SEGMENTS = {0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2}
#: Data of a scan end at a marker that is no restart and no stuffed byte.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def begins_as_picture(content: bytes | bytearray) -> bool:
    """Whether bytes begin as a JPEG or a PNG does."""
    return content.startswith((_JPEG_START, _PNG_START))


def whole_rgb(content: bytes) -> NDArray[np.uint8]:
    """Decode a whole JPEG or PNG, uint8 RGB HWC.

    Raises:
        ImpossibleSize: it has too few or too many pixels; nothing of it was decoded.
        InputError: it is not whole. The message names no file: "picture: cut off ...".
    """
    if content.startswith(_PNG_START):
        return _rgb_of_png(content)
    check_size(str(_NAME), *_size_by_markers(content))
    shown = picture_of_jpeg(_NAME, content)
    if any("damage cannot be seen" in note for note in shown.notes):
        raise InputError(f"{_NAME}: a rare kind of JPEG, in which damage cannot be seen")
    return shown.image_HWC


def _size_by_markers(content: bytes) -> tuple[int, int]:
    """Rows and columns that a JPEG announces, if its markers are those of one whole picture.

    A missing end marker is left to the decoder, which knows whether the data are complete.

    Raises:
        InputError: it is cut off before its data, holds a marker that does not belong there, or
            the start of another picture.
    """
    if not content.startswith(_JPEG_START):
        raise InputError(f"{_NAME}: is neither a JPEG nor a PNG")
    size_hw: tuple[int, int] | None = None
    at = len(_JPEG_START)
    while True:
        if content[at : at + 1] != b"\xff":
            raise InputError(f"{_NAME}: its markers are damaged")
        while content[at + 1 : at + 2] == b"\xff":  # any number may stand before a marker
            at += 1
        marker = content[at + 1] if at + 1 < len(content) else _END
        if marker == _END:
            break
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _SCAN and size_hw is not None:
            found = _AFTER_SCAN.search(content, at + 2 + length)
            if found is None:  # the end marker is missing
                return size_hw
            at = found.start()
            continue
        if marker in _FRAME_HEADERS and size_hw is None:
            size_hw = (
                int.from_bytes(content[at + 5 : at + 7], "big"),
                int.from_bytes(content[at + 7 : at + 9], "big"),
            )
        elif marker == _START:
            raise InputError(f"{_NAME}: a second picture begins inside it")
        elif marker not in _SEGMENTS:
            raise InputError(f"{_NAME}: its markers are damaged (0x{marker:02x})")
        at += 2 + length
    if size_hw is None:
        raise InputError(f"{_NAME}: cut off before its data")
    if _JPEG_START + b"\xff" in content[at + 2 :]:
        raise InputError(f"{_NAME}: a second picture follows inside it")
    return size_hw


def _rgb_of_png(content: bytes) -> NDArray[np.uint8]:
    """Pillow checks the sums of a PNG's chunks, and does not decode one that is cut off."""
    from PIL.PngImagePlugin import PngImageFile

    try:
        image = PngImageFile(BytesIO(content))
        check_size(str(_NAME), image.height, image.width)
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(_NAME, error) from None
    return picture_of_pillow(_NAME, image).image_HWC
