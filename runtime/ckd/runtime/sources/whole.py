"""Frames as bytes, decoded only if they are whole; what they lack is a `FrameFault`."""

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.picture import ImpossibleSize, check_size, whole_rgb
from ckd.runtime.sources.faults import FrameFault


def decode_whole(content: bytes, captured_s: float) -> NDArray[np.uint8]:
    """Decode a frame, a JPEG or PNG, into uint8 RGB HWC.

    Args:
        content: as the camera sent it.
        captured_s: when it arrived, for the error.

    Raises:
        FrameFault: "damaged" or "refused", see `ckd.runtime.sources.faults`.
    """
    try:
        return whole_rgb(content)
    except ImpossibleSize as error:
        raise FrameFault("refused", _reason(error), captured_s) from None
    except InputError as error:
        raise FrameFault("damaged", _reason(error), captured_s) from None
    except Exception as error:  # decoders may raise anything for damaged bytes
        raise FrameFault("damaged", f"does not decode ({error})", captured_s) from None


def check_frame_size(height: int, width: int, captured_s: float) -> None:
    """Raise `FrameFault` ("refused") unless a frame of so many pixels can be analysed."""
    try:
        check_size("frame", height, width)
    except ImpossibleSize as error:
        raise FrameFault("refused", _reason(error), captured_s) from None


def _reason(error: InputError) -> str:
    """What is wrong, without the name and the remedy, which are a file's."""
    return str(error).partition(": ")[2].partition("; ")[0]
