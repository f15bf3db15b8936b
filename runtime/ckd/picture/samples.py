"""Samples of any type as 8 bits, where it is certain which value is white.

Unsigned samples say it by their number of bits. Signed and float samples do not, so their largest
value decides between the ranges that programs write; between these lies a gap, in which a picture
is refused.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError

#: Gives blocks of samples; called once or twice.
Blocks = Callable[[], Iterator[NDArray[Any]]]
ToEightBit = Callable[[NDArray[Any]], NDArray[np.uint8]]

#: Float pictures whose largest value lies between 1 and this may be overexposed ones of 0 to 1, or
#: dark ones of 0 to 255; between 255 and the other, ones of 10 or 12 bits, or dark ones of 16.
_LEAST_OF_255, _LEAST_OF_65535 = 32.0, 8192


def to_eight_bit(path: Path, dtype: np.dtype[Any], bits: int, blocks: Blocks) -> ToEightBit:
    """What converts samples of that type, of which ``bits`` count, to uint8.

    Deep samples keep their high byte, float ones of 0 to 1 are rounded.

    Raises:
        InputError: the type has no white, or the values of ``blocks`` do not tell which is white.
    """
    if dtype.kind == "b" or (dtype.kind == "u" and bits < 8):
        top = 2**bits - 1
        return lambda block: (block.astype(np.uint16) * 255 // top).astype(np.uint8)
    if dtype.kind == "u" and bits in (8, 16):
        return lambda block: (block >> (bits - 8)).astype(np.uint8)
    if dtype.kind not in "iuf" or bits not in (8, 16, 32, 64):
        raise InputError(
            f"{path}: samples of {bits} bits ({dtype}) are not read; save it with 8 or 16 bits"
        )
    low, high = _extremes(path, blocks)
    unclear = InputError(
        f"{path}: its samples ({dtype}) lie from {low:.6g} to {high:.6g}, which does not tell what "
        "is white; save it with 8 or 16 bits"
    )
    if low < 0:
        raise unclear
    if dtype.kind == "u":
        if 0 < high < 2 ** (bits - 8):  # all of it would be black
            raise unclear
        return lambda block: (block >> (bits - 8)).astype(np.uint8)
    if dtype.kind == "i":
        if high > 65535 or (high > 255 and bits == 16) or 255 < high < _LEAST_OF_65535:
            raise unclear
        return lambda block: (block >> (8 if high > 255 else 0)).astype(np.uint8)
    if high > 65535 or 1 < high < _LEAST_OF_255 or 255 < high < _LEAST_OF_65535:
        raise unclear
    if high > 255:
        return lambda block: (block / 256).astype(np.uint8)
    factor = np.float32(255 if high <= 1 else 1)
    return lambda block: np.rint(block * factor).astype(np.uint8)


def _extremes(path: Path, blocks: Blocks) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for block in blocks():
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"{path}: holds samples that are not finite; save it with 8 or 16 bits"
            )
    return low, high
