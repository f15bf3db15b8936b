"""Reads NumPy archives (.npz) from elsewhere, of which a small file may unpack to gigabytes.

NumPy takes as much memory as a file says that it holds before it reads any of it. Here nothing is
unpacked beyond a limit, no array is made that its bytes do not fill, and no object is unpickled.
"""

import io
import math
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def read_arrays(
    content: bytes, names: Iterable[str] | None, most_bytes: int
) -> dict[str, NDArray[Any]]:
    """The arrays of an archive; they are read-only.

    Args:
        content: of the archive.
        names: of the arrays that are wanted, None for all.
        most_bytes: that all of them may take together.

    Raises:
        ValueError: it is no such archive, an array is missing, or they take more.
        Exception: a damaged archive may raise anything else, as `zipfile` does.
    """
    arrays, left = {}, most_bytes
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if names is None:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        for name in names:
            try:
                packed = archive.open(f"{name}.npy")
            except KeyError:
                raise ValueError(f"{name} is missing") from None
            with packed:
                unpacked = packed.read(left + 1)
            if len(unpacked) > left:
                raise ValueError(f"its arrays take more than {most_bytes / 2**20:.0f} MiB")
            left -= len(unpacked)
            arrays[name] = _array(name, unpacked)
    return arrays


def _array(name: str, unpacked: bytes) -> NDArray[Any]:
    stream = io.BytesIO(unpacked)
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, is_fortran, dtype = npy.read_array_header_2_0(stream)
    else:
        raise ValueError(f"{name} is of version {version}")
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects")
    count = math.prod(shape)
    if min(shape, default=1) < 0 or count * dtype.itemsize != len(unpacked) - stream.tell():
        raise ValueError(f"{name} is not as long as it says")
    flat = np.frombuffer(unpacked, dtype, count, stream.tell()) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")
