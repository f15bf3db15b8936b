"""Zip files that somebody sent: their sizes are limited before anything is unpacked."""

import struct
import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO, Final

from ckd.runtime.journal import foreign

#: Of the list of files at the end of a zip, which Python reads whole: forty thousand names.
_MAX_INDEX_BYTES: Final = 4 << 20
_END: Final = b"PK\x05\x06"
_LOCATOR_64: Final = b"PK\x06\x07"
_END_64: Final = b"PK\x06\x06"
#: Lengths of the three records at the end of a zip, without a comment (APPNOTE 6.3.10, 4.3.14-16).
_END_BYTES: Final = 22
_LOCATOR_BYTES: Final = 20
_END_64_BYTES: Final = 56
#: How members may be packed: other methods can unpack to far more.
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def opened_zip(source: Path | BytesIO) -> zipfile.ZipFile:
    """Open a zip file without a comment, as a journal writes it.

    Raises:
        ValueError: it is none, or its list of files is so long that it would fill the memory.
        OSError: the file cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            _check_index(file)
    else:
        _check_index(source)
    try:
        return zipfile.ZipFile(source)
    except Exception as error:  # a damaged index may raise anything
        raise ValueError("no zip file") from error


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a file in a zip.

    Raises:
        ValueError: there is no such file, it is damaged, or it has more than ``most`` bytes.
    """
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{name[:80]!r} is missing") from None
    if member.compress_type not in _METHODS or member.flag_bits & 1:
        raise ValueError(f"{name}: packed in a way that is not read")
    if member.file_size > most:
        raise ValueError(f"{name}: over {most >> 20} MiB")
    try:
        with archive.open(member) as file:
            return read_limited(name, file, most)
    except ValueError:
        raise
    except Exception as error:  # a damaged member may raise anything
        raise ValueError(f"{name}: {foreign.said(error)}") from error


def read_limited(name: str, file: IO[bytes], most: int) -> bytes:
    """What is left of a file; `ValueError` if that is more than ``most`` bytes."""
    content: bytes = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name}: over {most >> 20} MiB")
    return content


def _check_index(file: BinaryIO) -> None:
    """`ValueError` unless the records at the end of a zip say that its list of files is short."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES - _END_64_BYTES))
    tail = file.read()
    end, before = tail[-_END_BYTES:], tail[:-_END_BYTES]
    if len(end) < _END_BYTES or not end.startswith(_END):
        raise ValueError("no zip file")
    (num_bytes,) = struct.unpack_from("<I", end, 12)
    if before[-_LOCATOR_BYTES:].startswith(_LOCATOR_64):
        record = before[:-_LOCATOR_BYTES]
        if record.startswith(_END_64) and len(record) == _END_64_BYTES:
            (num_bytes,) = struct.unpack_from("<Q", record, 40)
    if num_bytes > _MAX_INDEX_BYTES:
        raise ValueError(f"its list of files is over {_MAX_INDEX_BYTES >> 20} MiB")
