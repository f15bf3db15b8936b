"""JPEG, decoded strictly: what libjpeg would only warn of is damage, and is refused.

libjpeg, and with it Pillow and OpenCV, fills the rest of a damaged picture with grey or with what
its state happens to be, and goes on. `simplejpeg` is libjpeg-turbo too, gives the same bytes as
Pillow for a sound file, and can be told to stop.

Suffixes: H rows, W columns, C channels.
"""

import io
import re
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from ckd.contract.errors import InputError
from ckd.picture.colour import Colours, picture_of_samples
from ckd.picture.limits import Picture, check_size, damaged
from ckd.picture.primaries import told_profile
from ckd.picture.upright import orientation_of, upright

#: A photograph of 64 megapixels is far below; what phones append (a film) is cut off harmlessly.
_MAX_FILE_BYTES = 256 * 2**20
_END = b"\xff\xd9"
_SCAN = b"\xff\xda"  # followed by a length of two bytes and the number of components
#: How each colour space of a file is decoded. "Gray" and "YCbCr" are names of simplejpeg.
_DECODED_AS: dict[str, tuple[str, Colours]] = {
    "Gray": ("GRAY", "L"),
    "RGB": ("RGB", "RGB"),
    "YCbCr": ("RGB", "RGB"),
    "CMYK": ("CMYK", "CMYK"),
    "YCCK": ("CMYK", "CMYK"),
}
_NOT_DECODED = ("subsampling", "colorspace")
#: What libjpeg says of kinds that it does not decode, such as lossless JPEG in colour.
_RARE_KINDS = ("SOF type", "color conversion")


def read_jpeg(path: Path) -> Picture:
    """Decode a JPEG file.

    Raises:
        InputError: the file is damaged or cut off, or has a size that cannot be analysed.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES)
    return picture_of_jpeg(path, content)


def picture_of_jpeg(path: Path, content: bytes, icc: bytes | None = None) -> Picture:
    """Decode the bytes of a JPEG file; ``path`` is for messages only.

    ``icc`` is a profile that is told elsewhere, and wins over that of the bytes.

    Raises:
        InputError: as `read_jpeg`.
    """
    with _opened(path, content) as header:
        check_size(str(path), header.height, header.width)
        orientation, notes = orientation_of(header)
        is_progressive = "progressive" in header.info
        decoded, note = _decoded(path, content, len(header.getbands()), is_progressive)
        if decoded is None:
            from ckd.picture.plain import picture_of_pillow

            shown = picture_of_pillow(path, header)
        else:
            samples_HWC, colours = decoded
            shown = picture_of_samples(path, samples_HWC, colours, icc or told_profile(header))
    notes = (*notes, *([note] if note else []), *shown.notes)
    return Picture(upright(shown.image_HWC, orientation), notes)


def _opened(path: Path, content: bytes) -> JpegImageFile:
    """The header, by Pillow's JPEG reader alone: `Image.open` imports those of five formats."""
    try:
        return JpegImageFile(io.BytesIO(content))
    except SyntaxError as error:
        if depth := re.search(r"\d+-bit", str(error)):
            raise InputError(
                f"{path}: JPEG of {depth[0]} samples is not read; save it as 16-bit PNG"
            ) from None
        raise damaged(path, "its header cannot be read") from None


def check_jpeg(path: Path, content: bytes) -> None:
    """Raise `InputError` if a JPEG that another decoder will decode is damaged or cut off."""
    try:
        simplejpeg.decode_jpeg(content, "GRAY", strict=True)
    except ValueError as error:
        if not any(word in str(error).lower() for word in _NOT_DECODED):
            raise damaged(path, error) from None


def _decoded(
    path: Path, content: bytes, num_components: int, is_progressive: bool
) -> tuple[tuple[NDArray[np.uint8], Colours] | None, str]:
    """The samples [H, W, C] and what they are, and a note; None where Pillow has to decode.

    A file in which only the end marker is missing decodes without complaint once it is there. One
    of several scans that ends at a scan would, too, with details or colours missing: it is refused.
    """
    try:
        return _strictly(content), ""
    except ValueError as error:
        reason = str(error)
    if any(word in reason.lower() for word in _NOT_DECODED):
        return None, "it is stored in a rare way, in which damage cannot be seen"
    if any(words in reason for words in _RARE_KINDS):
        raise InputError(f"{path}: a rare kind of JPEG ({reason}); save it as PNG")
    scan_at = content.rfind(_SCAN)
    in_one_scan = not is_progressive and content[scan_at + 4 : scan_at + 5] == bytes(
        [num_components]
    )
    if in_one_scan and not content.endswith(_END):
        try:
            return _strictly(content + _END), "its end marker is missing, but the picture is whole"
        except ValueError:
            pass
    raise damaged(path, reason)


def _strictly(content: bytes) -> tuple[NDArray[np.uint8], Colours]:
    """Decode, or raise ValueError with what libjpeg says first."""
    space = simplejpeg.decode_jpeg_header(content, strict=True)[2]
    if space not in _DECODED_AS:
        raise ValueError(f"colorspace {space}")
    name, colours = _DECODED_AS[space]
    samples_HWC: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, name, strict=True)
    if colours == "CMYK":
        np.subtract(255, samples_HWC, out=samples_HWC)  # ink is stored as its absence (Adobe)
    return samples_HWC, colours
