"""Colours that a file tells without a profile: EXIF's Adobe RGB, and PNG's gamma and primaries.

They are written as a profile, so that one way leads to sRGB (ICC.1:2010: a matrix and a curve).
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Chromaticities x and y of white, red, green and blue, in the order of PNG's cHRM.
Chromaticities = tuple[float, ...]
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE_RGB = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_ADOBE_GAMMA = 563 / 256
#: gAMA of a file in sRGB, which has no plain gamma (PNG specification, 11.3.2.5); what differs by
#: less was rounded.
_SRGB_GAMMA, _ROUNDED = 1 / 2.2, 0.01

_EXIF_IFD, _INTEROP_IFD, _INTEROP_INDEX = 0x8769, 0xA005, 1
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def told_profile(image: Image.Image) -> bytes | None:
    """The profile of an opened image: embedded, or made of what the file tells; None for sRGB.

    EXIF that names the interoperability index "R03" means Adobe RGB (DCF 2.0). An sRGB chunk of a
    PNG wins over gAMA and cHRM; one that is embedded wins over all.
    """
    embedded: bytes | None = image.info.get("icc_profile")
    if embedded:
        return embedded
    if image.format == "PNG":
        return _of_png(image)
    return rgb_profile(_ADOBE_RGB, _ADOBE_GAMMA) if _is_r03(image) else None


def rgb_profile(told: Chromaticities, gamma: float) -> bytes:
    """A profile of RGB with those chromaticities, whose samples are linear light to 1 / gamma."""
    points = np.array(told).reshape(4, 2)
    white_XYZ, *_ = _as_xyz(points[:1])
    primaries_XYZ = _as_xyz(points[1:]).T
    linear_to_XYZ = primaries_XYZ * np.linalg.solve(primaries_XYZ, white_XYZ)
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white_XYZ)
    to_d50 = np.linalg.inv(_BRADFORD) @ (gain[:, None] * _BRADFORD) @ linear_to_XYZ
    tags = {b"wtpt": _xyz(_D50)}
    for name, column in zip((b"r", b"g", b"b"), to_d50.T, strict=True):
        tags |= {name + b"XYZ": _xyz(column), name + b"TRC": _curve(gamma)}
    return _profile(b"RGB ", tags)


def _of_png(image: Image.Image) -> bytes | None:
    gamma = float(image.info.get("gamma") or _SRGB_GAMMA)
    told = tuple(image.info.get("chromaticity") or _SRGB)
    if "srgb" in image.info or not 0.1 < gamma < 2:
        return None
    has_srgb_gamma = abs(gamma - _SRGB_GAMMA) < _ROUNDED
    if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
        grey = {b"wtpt": _xyz(_D50), b"kTRC": _curve(1 / gamma)}
        return None if has_srgb_gamma else _profile(b"GRAY", grey)
    if has_srgb_gamma and np.allclose(told, _SRGB, atol=_ROUNDED):
        return None
    try:
        return rgb_profile(told, 1 / gamma)
    except (ValueError, ArithmeticError, struct.error, np.linalg.LinAlgError):
        return None  # no colours have such chromaticities


def _is_r03(image: Image.Image) -> bool:
    if "exif" not in image.info:
        return False
    try:
        exif = image.getexif()
        exif.get_ifd(_EXIF_IFD)
        index: Any = exif.get_ifd(_INTEROP_IFD).get(_INTEROP_INDEX, "")
    except Exception:  # Pillow may raise anything for damaged EXIF
        return False
    return str(index).startswith("R03")


def _as_xyz(points: NDArray[Any]) -> NDArray[Any]:
    x, y = points.T
    return np.stack([x / y, np.ones_like(x), (1 - x - y) / y], axis=1)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"told by the file\0"
    description = struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", **tags}
    body, directory, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        directory += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"mntr", space, b"XYZ ", b"acsp"
    )
    head += bytes(28) + _xyz(_D50)[8:] + bytes(48)
    return head + struct.pack(">I", len(tags)) + directory + body


def _xyz(values: NDArray[Any]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * float(value)) for value in values))


def _curve(gamma: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(256 * gamma))
