"""What a file really is, by its first bytes: the content decides, never the name.

Only the formats of `READ` are opened. All others are known so that the message can name them:
whoever renamed a video to photo.jpg should learn that it is a video. Nothing here decodes, and
no other program is started.
"""

import re
from typing import Final

from ckd.contract.errors import InputError

#: So many bytes from the start of a file are enough for `format_of`.
HEAD_BYTES = 4096

#: Formats that are read, as messages list them.
READ: Final = ("JPEG", "PNG", "BMP", "TIFF", "WebP", "JPEG 2000", "AVIF", "HEIC", "DICOM")
EXPECTED: Final = f"expected {', '.join(READ[:-1])} or {READ[-1]}"


def _endings(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


#: Endings of files in a folder that count as images.
IMAGE_SUFFIXES: Final = _endings(
    "jpg jpeg jpe jfif png bmp dib tif tiff webp jp2 j2k jpf jpx jpc avif heic heif hif dcm dicom"
)
#: Endings of pictures and films of formats that are not read.
OTHER_SUFFIXES: Final = _endings(
    "gif jxl jls psd svg eps pdf exr hdr tga pbm pgm ppm pnm ico emf wmf xcf "
    "dng cr2 cr3 nef arw orf raf rw2 x3f pef mp4 mov avi mkv m4v webm wmv"
)

# The first that fits is taken. From the PRONOM registry (nationalarchives.gov.uk/PRONOM) and the
# specifications of the formats.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS picture"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"BM", "BMP"),
    (8, b"CR\x02\x00", "a camera's raw file (CR2)"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xffO\xffQ", "JPEG 2000"),
    (128, b"DICM", "DICOM"),
    (0, b"GIF87a", "a GIF picture"),
    (0, b"GIF89a", "a GIF picture"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!", "a PostScript (EPS) document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript (EPS) document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP picture"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"\0\0\x02\0\0\0\0\0", "a TGA picture"),
    (0, b"\0\0\x02\0", "a cursor (CUR)"),
    (0, b"icns", "an icon (ICNS)"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"SIMPLE  =", "a FITS picture"),
    (0, b"IIRO", "a camera's raw file (ORF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"FOVb", "a camera's raw file (X3F)"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a video (Windows Media)"),
    (0, b"FLV\x01", "a video (Flash)"),
    (0, b"OggS", "an Ogg sound or video"),
    (0, b"ID3", "a sound (MP3)"),
    (0, b"\0\x05\x16\x07", "what macOS keeps beside a file (._ file)"),
    (0, b"PK\x03\x04", "a zip archive or office document"),
    (0, b"\xd0\xcf\x11\xe0", "an office document"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"SQLite format 3", "a database"),
    (0, b"{\\rtf", "a text document"),
    (0, b"version https://git-lfs", "a Git LFS pointer, in place of the file itself"),
)
_RIFF = {b"WEBP": "WebP", b"AVI ": "a video (AVI)", b"WAVE": "a sound (WAV)"}
#: Bytes of a packet of an MPEG transport stream, each of which begins with "G".
_MPEG_PACKET = 188
# Brands of ISO base media files: mp4ra.org/registered-types/brands.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


def format_of(head: bytes) -> str:
    """The format of a file by its first `HEAD_BYTES` bytes.

    One of `READ`, or words that name what the file is ("a GIF picture"), or "" if nothing is known.
    """
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "a RIFF file")
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    for offset, signature, name in _SIGNATURES:
        if head.startswith(signature, offset):
            return name
    return _text(head) or _video_without_signature(head)


def refusal(path: object, name: str) -> InputError:
    """The error for a file of a format that is not read; ``name`` is from `format_of`."""
    what = "not an image" if not name else name if name.startswith("not") else f"is {name}"
    return InputError(f"{path}: {what}; {EXPECTED}")


def _iso_media(head: bytes) -> str:
    size = int.from_bytes(head[:4], "big")
    brands = [head[at : at + 4] for at in (8, *range(16, min(size, len(head)) - 3, 4))]
    if brands[0] == b"crx ":
        return "a camera's raw file (CR3)"
    # A still picture names "mif1" too, whatever it is coded in.
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIC" if any(brand in _HEIC_BRANDS for brand in brands) else "a video (MP4 or MOV)"


def _video_without_signature(head: bytes) -> str:
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "a video (MOV)"
    packets = head[::_MPEG_PACKET]
    return "a video (MPEG)" if len(packets) > 2 and not packets.strip(b"G") else ""


def _text(head: bytes) -> str:
    if head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7") and head[2:3].isspace():
        return "a Netpbm picture"
    if b"\0" in head[:512].rstrip(b"\0") or not head:
        return ""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page"
    if re.match(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!doctype svg[^>]*>\s*)?<svg", start, re.S):
        return "an SVG drawing"
    if start.startswith(b"<?xml"):
        return "an XML document"
    printable = sum(byte in b"\t\n\r\f" or byte >= 32 for byte in head)
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "not an image but text" if printable == len(head) else ""
