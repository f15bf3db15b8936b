"""Frames as bytes, decoded only if they are whole; what they lack is a `FrameFault`.

A camera that overwrites a frame while it sends it joins the start of a new frame and the end of an
older one inside their data, where no marker tells. About one in fifteen has as many blocks as it
should, and decodes. But JPEG stores the brightness of a block as its difference to the block before
it: such a frame ends with the bytes of the older one and with other pixels, which a frame that was
sent whole does not. With restart markers the difference starts anew, and this cannot be seen.
"""

import zlib
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.picture import JPEG_MAX_SIDE_PX, ImpossibleSize, check_size, whole_rgb
from ckd.runtime.sources.faults import FrameFault, Grabbed

#: Frames that a camera may hold at a time, and so send the end of.
_NUM_REMEMBERED = 8
_END_BYTES = 64
#: Rows and columns of the last block of a JPEG, or its last two: what the last bytes stand for.
_BLOCK_HW = 8, 16
#: Fewer bytes than this, compressed, are of one colour, and alike in frames that differ.
_TELLING_BYTES = 48


class FrameDecoder:
    """Decodes the frames of one camera, in their order."""

    def __init__(self) -> None:
        self._last: Grabbed | None = None
        self._ends: deque[_End] = deque(maxlen=_NUM_REMEMBERED)

    def decode(self, content: bytes, captured_s: float) -> Grabbed:
        """A frame, of a JPEG or PNG; for the same bytes as last time the same array.

        Raises:
            FrameFault: "damaged" or "refused".
        """
        if self._last is not None and self._last.jpeg == content:
            self._last = self._last._replace(captured_s=captured_s)
            return self._last
        image_HWC = decode_whole(content, captured_s)
        end = _End.of(content, image_HWC)
        if any(end.is_torn_from(older) for older in self._ends):
            raise FrameFault("damaged", "ends with bytes of an older frame", captured_s)
        self._ends.append(end)
        self._last = Grabbed(image_HWC, captured_s, content, is_rgb=True)
        return self._last


class _End(NamedTuple):
    """The last bytes of a JPEG's data, and the pixels of its last block.

    Not those beside it: they may change while a caption in the corner stands still.
    """

    data: bytes
    block_HWC: NDArray[np.uint8]

    @classmethod
    def of(cls, content: bytes, image_HWC: NDArray[np.uint8]) -> "_End":
        end = content.rfind(b"\xff\xd9")
        return cls(content[max(0, end - _END_BYTES) : max(0, end)], _last_block(image_HWC).copy())

    def is_torn_from(self, older: "_End") -> bool:
        return (
            self.data == older.data
            and self.block_HWC.shape == older.block_HWC.shape
            and len(zlib.compress(self.data)) >= _TELLING_BYTES
            and not np.array_equal(self.block_HWC, older.block_HWC)
        )


def _last_block(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Its pixels without those of its first row and column, which take colour from beside it."""
    height, width = image_HWC.shape[:2]
    height, width = (height - 1) % _BLOCK_HW[0] + 1, (width - 1) % _BLOCK_HW[1] + 1
    return image_HWC[-max(1, height - 1) :, -max(1, width - 1) :]


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
    if max(height, width) > JPEG_MAX_SIDE_PX:  # no page or recording could show it
        reason = f"{width}x{height} pixels is longer than {JPEG_MAX_SIDE_PX}"
        raise FrameFault("refused", reason, captured_s)


def _reason(error: InputError) -> str:
    """What is wrong, without the name and the remedy, which are a file's."""
    return str(error).partition(": ")[2].partition("; ")[0]
