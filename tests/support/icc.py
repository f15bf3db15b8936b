"""Small colour profiles, made by hand: matrices for RGB, a curve for grey, a table for CMYK.

From ICC.1:2010; XYZ of primaries are adapted to D50.
"""

import struct

import numpy as np

#: Primaries, white and gamma, as the standards give them; white of ProPhoto is D50.
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), (0.3127, 0.3290), 563 / 256
DISPLAY_P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), (0.3127, 0.3290), 2.2
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

Space = tuple[tuple[tuple[float, float], ...], tuple[float, float], float]


def rgb_profile(space: Space) -> bytes:
    """A profile of primaries, white and gamma."""
    tags = {b"wtpt": _xyz(_D50)}
    for name, column in zip((b"r", b"g", b"b"), to_d50(space).T, strict=True):
        tags[name + b"XYZ"] = _xyz(column)
        tags[name + b"TRC"] = _gamma(space[2])
    return _profile(b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(_D50), b"kTRC": _gamma(gamma)})


def cmyk_profile() -> bytes:
    """A printer that makes grey of cyan and leaves all other inks white: no usual one would."""
    straight = bytes(range(256))
    grid = bytearray()
    for cyan in (0, 1):  # the first channel changes slowest
        grid += bytes([255 - 255 * cyan, 128, 128]) * 8
    head = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2)
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = head + matrix + straight * 4 + bytes(grid) + straight * 3
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(_D50), b"A2B0": table}, b"prtr")


def to_d50(space: Space) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """The matrix [3, 3] from linear RGB to XYZ at D50 (Lindbloom, RGB/XYZ matrices)."""
    primaries, white, _ = space
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white_XYZ = np.array([white[0] / white[1], 1, (1 - sum(white)) / white[1]])
    matrix = columns * np.linalg.solve(columns, white_XYZ)
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white_XYZ)
    return np.asarray(np.linalg.inv(_BRADFORD) @ (gain[:, None] * _BRADFORD) @ matrix)


def _profile(
    space: bytes, connection: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr"
) -> bytes:
    text = b"made by hand\0"
    tags = {
        b"desc": struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        **tags,
    }
    body, directory = b"", b""
    at = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        directory += name + struct.pack(">II", at + len(body), len(content))
        body += content
    size = at + len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x02400000, kind, space, connection, b"acsp")
    head += bytes(28) + _xyz(_D50)[8:] + bytes(48)
    return head + struct.pack(">I", len(tags)) + directory + body


def _xyz(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * value) for value in values))


def _gamma(gamma: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(256 * gamma))
