"""TIFF, by its tags: grey, colour, palette and CMYK of any depth, in planes, tiles and strips.

Pillow takes samples of rare TIFFs for something else: planes for rows, 32-bit for 16-bit, negatives
for positives. `tifffile` gives the samples as they are stored, and this module reads the tags of
TIFF 6.0. Compressions that tifffile lacks (LZW, JPEG, CCITT) are left to Pillow where it reads the
tags right.

Suffixes: H rows, W columns, S samples of a pixel.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from ckd.contract.errors import InputError
from ckd.picture.colour import Colours, picture_of_samples
from ckd.picture.jpeg import check_jpeg
from ckd.picture.limits import Picture, check_size, damaged
from ckd.picture.plain import read_plain
from ckd.picture.samples import to_eight_bit
from ckd.picture.tiff_blocks import Block, blocks_of, check_blocks, is_decoded_here
from ckd.picture.upright import known_orientation, upright

# tifffile logs what it passes over; what matters is refused here, in one line.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
#: Photometric interpretation -> what it is, and how many samples of a pixel are colour.
_KNOWN: dict[int, tuple[Colours, int]] = {
    _MIN_IS_WHITE: ("L", 1),
    _MIN_IS_BLACK: ("L", 1),
    _RGB: ("RGB", 3),
    _PALETTE: ("RGB", 1),
    _SEPARATED: ("CMYK", 4),
}
_NAMES = {4: "a mask", 6: "YCbCr", 8: "CIELab", 9: "CIELab", 10: "CIELab", 32844: "LogL",
          32845: "LogLuv", 32803: "a camera's raw file", 34892: "a camera's raw file"}  # fmt: skip
_ASSOCIATED, _UNASSOCIATED = 1, 2
_JPEGS = _OLD_JPEG, _JPEG = (6, 7)
#: Compressions that the wheels of Pillow read: none (of packed samples), fax, LZW, JPEG, Deflate,
#: PackBits, LZMA and Zstandard.
_OF_PILLOW = (1, 2, 3, 4, 5, *_JPEGS, 8, 32946, 32773, 34925, 50000)
_DNG_VERSION, _ORIENTATION, _INK_SET, _ICC, _SUBFILE_TYPE = 50706, 274, 332, 34675, 254
_PHOTOMETRIC = 262


class _Meaning(NamedTuple):
    """What the tags say of a page's samples."""

    photometric: int
    colours: Colours
    num_colours: int
    alpha_at: int | None
    is_premultiplied: bool


def read_tiff(path: Path) -> Picture:
    """Decode the first page of a TIFF file.

    Raises:
        InputError: the file is cut off, or its samples or colours are of a kind that cannot be
            shown right, which the message names.
    """
    with TiffFile(path) as tiff:
        page = _first_page(path, tiff)
        check_size(str(path), page.imagelength, page.imagewidth)
        _check_page(path, page)
        notes = _page_notes(path, tiff)
        meaning, extra_notes = _meaning(path, page)
        if not is_decoded_here(page):
            _check_for_pillow(path, page)
            _check_jpeg(path, tiff, page)
            shown = read_plain(path, "TIFF")
            return Picture(
                shown.image_HWC, tuple(dict.fromkeys((*notes, *extra_notes, *shown.notes)))
            )
        check_blocks(path, page)
        samples_HWS = _samples(path, tiff, page, meaning.photometric == _PALETTE)
        icc, orientation = page.tags.valueof(_ICC), page.tags.valueof(_ORIENTATION, default=1)
        shown = _shown(path, page, samples_HWS, meaning, icc)
    notes = (*notes, *extra_notes, *shown.notes)
    return Picture(upright(shown.image_HWC, known_orientation(orientation)), notes)


def _first_page(path: Path, tiff: TiffFile) -> TiffPage:
    try:
        page = tiff.pages.first
    except IndexError:
        raise damaged(path, "its list of pictures is missing") from None
    if page.imagelength == 0 or page.imagewidth == 0:
        raise damaged(path, "its size is missing")
    return page


def _check_page(path: Path, page: TiffPage) -> None:
    if page.tags.valueof(_DNG_VERSION) is not None or page.photometric in (32803, 34892):
        raise InputError(f"{path}: is a camera's raw file; save a developed JPEG or TIFF of it")
    if int(page.tags.valueof(_SUBFILE_TYPE, default=0)) & 1:
        raise InputError(
            f"{path}: its first page is a reduced preview, as in cameras' raw files; "
            "save a developed JPEG or TIFF of it"
        )


def _page_notes(path: Path, tiff: TiffFile) -> tuple[str, ...]:
    try:
        tiff.pages[1]
    except IndexError:
        return ()
    if tiff.is_imagej or tiff.is_ome:
        raise InputError(
            f"{path}: is a stack of a microscopy program, whose pages may be colours; "
            "save one RGB page"
        )
    return ("it holds several pictures: the first was read",)


def _meaning(path: Path, page: TiffPage) -> tuple[_Meaning, tuple[str, ...]]:
    photometric = int(page.photometric)
    if photometric == _YCBCR and int(page.compression) in _JPEGS:  # which Pillow decodes
        return _Meaning(photometric, "RGB", 3, None, False), ()
    if photometric not in _KNOWN or (
        photometric == _SEPARATED and page.tags.valueof(_INK_SET, default=1) != 1
    ):
        name = _NAMES.get(photometric, f"photometric interpretation {photometric}")
        raise InputError(f"{path}: TIFF with colours ({name}) that are not read; save it as RGB")
    colours, num_colours = _KNOWN[photometric]
    if page.tags.get(_PHOTOMETRIC) is None:  # programs differ in whether 0 is then black or white
        raise damaged(path, "it does not say what its colours are")
    if page.samplesperpixel < num_colours:
        raise damaged(path, f"{page.samplesperpixel} samples for each pixel of {colours}")
    extra = [int(kind) for kind in page.extrasamples]
    for at, kind in enumerate(extra):
        if kind in (_ASSOCIATED, _UNASSOCIATED):
            alpha_at = page.samplesperpixel - len(extra) + at
            return _Meaning(photometric, colours, num_colours, alpha_at, kind == _ASSOCIATED), ()
    left_over = page.samplesperpixel - num_colours
    if left_over == 1 and not extra and colours != "CMYK":  # untold: alpha, as libtiff takes it
        return _Meaning(photometric, colours, num_colours, num_colours, False), ()
    notes = ("channels of unknown meaning were passed over",) if left_over else ()
    return _Meaning(photometric, colours, num_colours, None, False), notes


def _samples(path: Path, tiff: TiffFile, page: TiffPage, is_palette: bool) -> NDArray[np.uint8]:
    """All samples as uint8 [H, W, S]; indices of a palette as they are."""
    dtype, bits = page.dtype, page.bitspersample
    if dtype is None or (is_palette and (dtype.kind not in "bu" or bits > 8)):
        raise InputError(
            f"{path}: TIFF with samples of {bits} bits is not read; save it with 8 or 16 bits"
        )

    def blocks() -> Iterator[Block]:
        return blocks_of(path, tiff, page)

    def values() -> Iterator[NDArray[Any]]:
        return (block.samples_HWS for block in blocks())

    convert = to_eight_bit(path, dtype, bits, values)
    samples_HWS = np.zeros((page.imagelength, page.imagewidth, page.samplesperpixel), np.uint8)
    for block in blocks():
        height, width, depth = block.samples_HWS.shape
        place_HWS = samples_HWS[block.row : block.row + height, block.column : block.column + width]
        eight_bit = block.samples_HWS.astype(np.uint8) if is_palette else convert(block.samples_HWS)
        place_HWS[..., block.sample : block.sample + depth] = eight_bit
    return samples_HWS


def _shown(
    path: Path, page: TiffPage, samples_HWS: NDArray[np.uint8], meaning: _Meaning, icc: object
) -> Picture:
    colours_HWS = samples_HWS[..., : meaning.num_colours]
    alpha_HW = None if meaning.alpha_at is None else samples_HWS[..., meaning.alpha_at]
    if meaning.photometric == _MIN_IS_WHITE:
        colours_HWS = 255 - colours_HWS
    if meaning.photometric == _PALETTE:
        colours_HWS = _palette(path, page)[colours_HWS[..., 0]]
    if alpha_HW is not None and meaning.is_premultiplied:
        colours_HWS = _divided(colours_HWS, alpha_HW)
    profile = bytes(icc) if isinstance(icc, bytes | bytearray) else None
    return picture_of_samples(
        path, np.ascontiguousarray(colours_HWS), meaning.colours, profile, alpha_HW
    )


def _palette(path: Path, page: TiffPage) -> NDArray[np.uint8]:
    """Colours of the palette, uint8 [256, 3]; indices beyond it are black, as in libtiff."""
    if page.colormap is None:
        raise damaged(path, "it has no palette")
    map_SN = np.asarray(page.colormap, np.uint16)
    if not _is_shallow(map_SN):
        map_SN //= 256
    palette = np.zeros((256, 3), np.uint8)
    palette[: map_SN.shape[1]] = map_SN.T[:256]
    return palette


def _is_shallow(map_SN: NDArray[Any]) -> bool:
    """Whether a palette has 8 bits, as some programs write, and not the 16 of TIFF 6.0."""
    return int(map_SN.max(initial=0)) <= 255


def _divided(colours_HWS: NDArray[np.uint8], alpha_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours that were stored multiplied by alpha, without it."""
    divided_HWS = np.empty_like(colours_HWS)
    for row_HWS, alpha_W, out_HWS in zip(colours_HWS, alpha_HW, divided_HWS, strict=True):
        whole = row_HWS * np.uint32(255) // np.maximum(alpha_W, 1)[:, None]
        out_HWS[:] = np.minimum(whole, 255)
    return divided_HWS


def _check_jpeg(path: Path, tiff: TiffFile, page: TiffPage) -> None:
    """Refuse damage in strips of JPEG, which libtiff passes over; they share their tables."""
    if int(page.compression) != _JPEG:
        return
    tables = bytes(page.jpegtables or b"")
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        tiff.filehandle.seek(offset)
        strip = tiff.filehandle.read(length)
        check_jpeg(path, tables[:-2] + strip[2:] if tables else strip)


def _check_for_pillow(path: Path, page: TiffPage) -> None:
    """Pillow reads 8 bits of all kinds right, and 16 bits of RGB and of grey but for negatives.

    Less than 8 bits it reads in grey and palettes. It takes all palettes to have 16 bits.
    """
    kind = None if page.dtype is None else page.dtype.kind
    is_shallow = page.bitspersample in (1, 8) or (
        page.bitspersample < 8 and page.samplesperpixel == 1
    )
    is_deep = page.bitspersample == 16 and int(page.photometric) in (_MIN_IS_BLACK, _RGB)
    is_known = int(page.compression) in _OF_PILLOW and kind in ("b", "u")
    if page.colormap is not None and _is_shallow(np.asarray(page.colormap)):
        raise InputError(
            f"{path}: a palette of 8 bits in a packed TIFF is not read; save it as PNG"
        )
    if is_known and (is_shallow or (is_deep and int(page.planarconfig) == 1)):
        return
    compression = getattr(page.compression, "name", page.compression)
    raise InputError(
        f"{path}: TIFF of {page.bitspersample}-bit samples with {compression} compression is "
        "not read; save it with 8 bits, uncompressed or with Deflate"
    )
