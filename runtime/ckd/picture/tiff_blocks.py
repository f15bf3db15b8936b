"""The stored samples of a TIFF page, block by block, so that large pages need little memory.

Suffixes: H rows, W columns, S samples of a pixel.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from ckd.contract.errors import InputError
from ckd.picture.limits import damaged, strip_rows

_NONE, _DEFLATE, _PACKBITS, _OLD_DEFLATE = 1, 8, 32773, 32946
_FLOAT_PREDICTOR = 3
_PACKED_BITS = (2, 3, 4, 5, 6, 7)
#: A compressed strip or tile is held decoded as a whole; a larger one is refused.
_MAX_BLOCK_BYTES = 256 * 2**20
_LARGEST_DEFLATE_RATIO = 1032


class Block(NamedTuple):
    """Samples of a rectangle, and where its first one belongs."""

    samples_HWS: NDArray[Any]
    row: int
    column: int
    sample: int


def is_decoded_here(page: TiffPage) -> bool:
    """Whether tifffile decodes the page's compression without a further package."""
    is_known = int(page.compression) in (_NONE, _DEFLATE, _PACKBITS, _OLD_DEFLATE)
    is_packed = page.bitspersample in _PACKED_BITS
    return is_known and not is_packed and int(page.predictor) != _FLOAT_PREDICTOR


def check_blocks(path: Path, page: TiffPage) -> None:
    """Raise `InputError` unless all blocks lie in the file and fit into the memory.

    tifffile would fill what is missing with zeros.
    """
    file_bytes = path.stat().st_size
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if length == 0 or offset == 0 or offset + length > file_bytes:
            raise damaged(path, "a part of the picture lies beyond the end of the file")
    if not page.dataoffsets:
        raise damaged(path, "it has no samples")
    height, width = page.chunks[0], page.chunks[1]
    if not page.is_tiled:
        height, width = min(page.rowsperstrip, page.imagelength), page.imagewidth
    itemsize = 8 if page.dtype is None else page.dtype.itemsize
    block_bytes = height * width * page.samplesperpixel * itemsize
    if not _is_read_in_rows(page) and block_bytes > _MAX_BLOCK_BYTES:
        raise InputError(
            f"{path}: TIFF that holds {block_bytes / 2**20:.0f} MiB in one strip or tile; "
            "save it with 8 bits, or with smaller strips"
        )


def blocks_of(path: Path, tiff: TiffFile, page: TiffPage) -> Iterator[Block]:
    """All blocks of a page, with samples of the machine's byte order.

    Raises:
        InputError: a block is damaged or cut off.
    """
    if _is_read_in_rows(page):
        yield from _rows(tiff, page)
        return
    file = tiff.filehandle
    for index, (offset, length) in enumerate(
        zip(page.dataoffsets, page.databytecounts, strict=True)
    ):
        file.seek(offset)
        content = file.read(length)
        if int(page.compression) in (_DEFLATE, _OLD_DEFLATE):
            _check_deflated(path, content)
        samples_DHWS, position, shape = page.decode(content, index)
        if samples_DHWS is None:
            raise damaged(path, "a part of the picture is empty")
        sample, _, row, column, _ = position
        height = min(shape[1], page.imagelength - row)  # tiles reach beyond the picture
        width = min(shape[2], page.imagewidth - column)
        yield Block(samples_DHWS[0, :height, :width], row, column, sample)


def _is_read_in_rows(page: TiffPage) -> bool:
    """Whether samples lie in the file as they are, one after the other."""
    return page.is_final and page.dtype is not None


def _rows(tiff: TiffFile, page: TiffPage) -> Iterator[Block]:
    assert page.dtype is not None
    dtype = page.dtype.newbyteorder(tiff.byteorder)
    height, width = page.imagelength, page.imagewidth
    in_planes = int(page.planarconfig) == 2 and page.samplesperpixel > 1
    num_planes, depth = (page.samplesperpixel, 1) if in_planes else (1, page.samplesperpixel)
    file = tiff.filehandle
    file.seek(page.dataoffsets[0])
    for plane in range(num_planes):
        for row in range(0, height, rows := strip_rows(width)):
            shape = (min(rows, height - row), width, depth)
            content = file.read(int(np.prod(shape)) * dtype.itemsize)
            samples_HWS = np.frombuffer(content, dtype).reshape(shape)
            yield Block(samples_HWS.astype(page.dtype, copy=False), row, 0, plane)


def _check_deflated(path: Path, content: bytes) -> None:
    """Refuse a small block that would inflate without end; others tifffile inflates at once."""
    if len(content) * _LARGEST_DEFLATE_RATIO <= _MAX_BLOCK_BYTES:
        return
    inflater, num_bytes = zlib.decompressobj(), 0
    while content and not inflater.eof:
        num_bytes += len(inflater.decompress(content, 2**20))
        content = inflater.unconsumed_tail
        if num_bytes > 2 * _MAX_BLOCK_BYTES:
            raise damaged(path, "a part of the picture inflates to more than it may hold")
