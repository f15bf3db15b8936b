"""DICOM photographs: dermoscopy, visible light and secondary capture, by `pydicom` (extra "dicom").

PS3.3 C.7.6.3 (image pixel) and PS3.5 8.2 (transfer syntaxes) say what the samples mean. Where a
file contradicts itself, it is refused.

Suffixes: H rows, W columns, C channels.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.picture.colour import picture_of_samples, pillow_strip
from ckd.picture.jpeg import picture_of_jpeg
from ckd.picture.limits import Picture, check_size, damaged, strip_rows

_VISIBLE_LIGHT: Final = "1.2.840.10008.5.1.4.1.1.77.1."
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
#: Dermoscopic and photographic, of `_VISIBLE_LIGHT`, with their videos, whose coding is refused.
_PHOTOGRAPHS = tuple(_VISIBLE_LIGHT + kind for kind in ("4", "4.1", "7"))
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_RLE = "1.2.840.10008.1.2.5"
#: What colour samples may be called, by how they are coded (PS3.5 8.2).
_COLOURS_OF = {
    _NATIVE: ("RGB", "YBR_FULL", "YBR_FULL_422"),
    _JPEG_2000: ("RGB", "YBR_ICT", "YBR_RCT"),
    (_RLE,): ("RGB", "YBR_FULL"),
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
#: Characters of a header's value that a message repeats.
_LONGEST_SAID = 60
#: Compressed files are read as a whole, with all their frames.
_MAX_FILE_BYTES = 512 * 2**20
#: APP14 of Adobe with transform 0: the samples are RGB. A stream without it counts as YCbCr.
_RGB_MARKER = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def read_dicom(path: Path) -> Picture:
    """Decode the first frame of a DICOM photograph.

    Raises:
        InputError: the extra is not installed, the file is no photograph, or it is coded in a way
            that is not read or contradicts itself. What else is raised for a damaged file comes
            through as it is.
    """
    try:
        import pydicom
    except ImportError:
        raise InputError(
            f"{path}: is a DICOM file, which needs the extra dicom: "
            "pip install 'ckd-cascades[dicom]'"
        ) from None
    header = pydicom.dcmread(path, stop_before_pixels=True)
    _check_kind(path, header)
    check_size(str(path), int(header.Rows), int(header.Columns))
    num_frames = int(header.get("NumberOfFrames") or 1)
    notes = ("it holds several frames: the first was read",) if num_frames > 1 else ()
    if str(header.file_meta.TransferSyntaxUID) in _JPEG:
        shown = _jpeg_frame(path, header, num_frames)
    else:
        shown = _frame(path, header, num_frames)
    return Picture(shown.image_HWC, notes + shown.notes)


def _check_kind(path: Path, header: Any) -> None:
    uid = header.get("SOPClassUID")
    if uid is None or not (uid in _PHOTOGRAPHS or (uid + ".").startswith(_SECONDARY_CAPTURE + ".")):
        name = "no kind" if uid is None else _said(uid.name)
        raise InputError(
            f"{path}: DICOM of {name}; expected dermoscopic or VL photography, or secondary capture"
        )
    for keyword in ("Rows", "Columns", "PhotometricInterpretation", "BitsStored", "BitsAllocated"):
        if header.get(keyword) is None:
            raise damaged(path, f"it has no {keyword}")
    is_grey = header.PhotometricInterpretation in (*_GREY, "PALETTE COLOR")
    if int(header.get("SamplesPerPixel") or 0) != (1 if is_grey else 3):
        raise damaged(
            path,
            f"{_said(header.get('SamplesPerPixel'))} samples for each pixel of "
            f"{_said(header.PhotometricInterpretation)}",
        )
    if int(header.get("HighBit", header.BitsStored - 1)) != int(header.BitsStored) - 1:
        raise InputError(
            f"{path}: DICOM whose {header.BitsStored} bits end at bit {header.HighBit} is not "
            "read; save it as JPEG or PNG"
        )
    if int(header.get("PixelRepresentation") or 0) or not 1 <= int(header.BitsStored) <= 16:
        raise InputError(
            f"{path}: DICOM of {header.BitsStored}-bit or signed samples is not read; "
            "expected unsigned ones of at most 16 bits"
        )
    if float(header.get("RescaleSlope", 1)) != 1 or float(header.get("RescaleIntercept", 0)) != 0:
        raise InputError(f"{path}: DICOM of measured values (rescaled), expected a photograph")


def _jpeg_frame(path: Path, header: Any, num_frames: int) -> Picture:
    """A frame of baseline JPEG; its own markers tell its colours, else the header does."""
    import pydicom
    from pydicom.encaps import get_frame

    if path.stat().st_size > _MAX_FILE_BYTES:
        raise InputError(f"{path}: DICOM of more than {_MAX_FILE_BYTES >> 20} MiB; save one frame")
    content = get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=num_frames)
    name = header.PhotometricInterpretation
    if name not in (*_GREY, "RGB", "YBR_FULL", "YBR_FULL_422"):
        raise _unread(path, header)
    start = content[: content.find(b"\xff\xda")]
    is_marked = b"JFIF\0" in start[:20] or b"\xff\xee\x00\x0eAdobe" in start
    if name in _GREY and int(header.BitsStored) != 8:
        raise damaged(path, f"its JPEG frame has 8 bits, its header says {header.BitsStored}")
    if name not in _GREY and not is_marked:
        is_whole = _is_not_subsampled(content)
        if name == ("YBR_FULL_422" if is_whole else "RGB"):
            what = "holds every colour sample" if is_whole else "leaves out colour samples"
            raise InputError(
                f"{path}: DICOM that says {name} but {what}, which may be "
                f"{'RGB' if is_whole else 'YBR_FULL_422'}; save it as JPEG or PNG"
            )
        if name == "RGB":
            content = content[:2] + _RGB_MARKER + content[2:]
    shown = picture_of_jpeg(path, content, header.get("ICCProfile"))
    if shown.image_HWC.shape[:2] != (int(header.Rows), int(header.Columns)):
        raise damaged(path, "its JPEG frame has another size than its header says")
    if name in _GREY:
        return Picture(_grey_levels(header)[:, 0][shown.image_HWC], shown.notes)
    return shown


def _is_not_subsampled(content: bytes) -> bool:
    import simplejpeg

    return str(simplejpeg.decode_jpeg_header(content, strict=True)[3]) == "444"


def _frame(path: Path, header: Any, num_frames: int) -> Picture:
    """A frame that `pydicom` decodes: uncompressed, RLE or JPEG 2000."""
    from pydicom.pixels.utils import pixel_array

    syntax, name = str(header.file_meta.TransferSyntaxUID), str(header.PhotometricInterpretation)
    allowed = [names for syntaxes, names in _COLOURS_OF.items() if syntax in syntaxes]
    if not allowed or name not in (*allowed[0], *_GREY, "PALETTE COLOR"):
        raise _unread(path, header)
    if syntax in _NATIVE:
        _check_length(path, header, num_frames, name)
    samples: NDArray[Any] = pixel_array(path, index=0, raw=True)
    icc = header.get("ICCProfile")
    if name in _GREY or name == "PALETTE COLOR":
        table_NC = _palette(header) if name == "PALETTE COLOR" else _grey_levels(header)
        samples_HWC = table_NC[np.minimum(samples, len(table_NC) - 1)]
        return picture_of_samples(path, samples_HWC, "L" if name in _GREY else "RGB", icc)
    eight_bit_HWC = (samples >> max(0, int(header.BitsStored) - 8)).astype(np.uint8)
    if name in ("YBR_FULL", "YBR_FULL_422"):
        _to_rgb(eight_bit_HWC)
    return picture_of_samples(path, eight_bit_HWC, "RGB", icc)


def _to_rgb(samples_HWC: NDArray[np.uint8]) -> None:
    """Make RGB of YCbCr of full range, in place."""
    for top in range(0, len(samples_HWC), rows := strip_rows(samples_HWC.shape[1])):
        strip_HWC = samples_HWC[top : top + rows]
        strip_HWC[:] = np.asarray(pillow_strip(strip_HWC, "YCbCr").convert("RGB"))


def _check_length(path: Path, header: Any, num_frames: int, name: str) -> None:
    """The number of bytes shows whether colours were left out, as YBR_FULL_422 says."""
    import pydicom

    num_samples = int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel) * num_frames
    expected = num_samples * int(header.BitsAllocated) // 8
    if name == "YBR_FULL_422":
        expected = expected * 2 // 3
    pixels = pydicom.dcmread(path, defer_size=1024).get_item("PixelData", keep_deferred=True)
    length = 0 if pixels is None else int(getattr(pixels, "length", 0))
    if length < expected:
        raise damaged(path, f"it holds {length} bytes of pixels and needs {expected}")
    if length > expected + 1:
        raise InputError(
            f"{path}: DICOM that says {name} but holds {length} bytes of pixels and not "
            f"{expected}; save it as JPEG or PNG"
        )


def _grey_levels(header: Any) -> NDArray[np.uint8]:
    """What each grey value is shown as, uint8 [N, 1]: windows applied, MONOCHROME1 inverted."""
    from pydicom.pixels.processing import apply_voi_lut

    bits = int(header.BitsStored)
    values = np.arange(2**bits, dtype=np.uint8 if bits <= 8 else np.uint16)
    top = float(2**bits - 1)
    if "WindowCenter" in header or "VOILUTSequence" in header:
        shown = np.asarray(apply_voi_lut(values, header), np.float64)
        if "VOILUTSequence" in header:
            top = float(2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        shown = values.astype(np.float64)
    # Deep values keep their high byte, as everywhere.
    levels = shown * 255 / top if bits <= 8 else shown * 256 // (top + 1)
    levels = np.clip(levels, 0, 255)
    if header.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    return levels.round().astype(np.uint8)[:, None]


def _palette(header: Any) -> NDArray[np.uint8]:
    """The palette's colours, uint8 [N, 3]."""
    from pydicom.pixels.processing import apply_color_lut

    bits = int(header.BitsStored)
    indices = np.arange(2**bits, dtype=np.uint8 if bits <= 8 else np.uint16)[None]
    table_NC = np.asarray(apply_color_lut(indices, header))[0, :, :3]
    if table_NC.max(initial=0) > 255:  # some programs write 8 bits where 16 are announced
        table_NC = table_NC >> 8
    return table_NC.astype(np.uint8)


def _unread(path: Path, header: Any) -> InputError:
    return InputError(
        f"{path}: DICOM of {_said(header.file_meta.TransferSyntaxUID.name)} with "
        f"{_said(header.PhotometricInterpretation)} is not read; save it as JPEG or PNG"
    )


def _said(value: object) -> str:
    """A value of a header for a message: a damaged one may hold the rest of the file."""
    text = str(value)
    short = "".join(sign if sign.isprintable() else "?" for sign in text[:_LONGEST_SAID])
    return short + ("..." if len(text) > _LONGEST_SAID else "")
