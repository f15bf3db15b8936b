"""The border to OpenCV's video capture: quiet, with time-outs, and a time stamp at the grab.

Arrays named ``*_bgr`` are uint8 HWC in OpenCV's channel order; they become RGB in `rgb_from_bgr`
and nowhere else.
"""

import os
import re
import time
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray


class FrameReader(Protocol):
    """An open source that is read by one thread."""

    fps: float | None
    finite: bool  # True for a recording, whose end is no fault

    def read(self) -> tuple[NDArray[np.uint8], float] | None:
        """The next picture (BGR) and its grab time; None when nothing came."""

    def close(self) -> None:
        """Release it."""


class CaptureReader:
    """`FrameReader` over an open `cv2.VideoCapture`, which it owns.

    A ``device`` has no last frame, whatever its driver answers; of a file or address, OpenCV knows.
    """

    def __init__(self, capture: cv2.VideoCapture, *, device: bool = False) -> None:
        self._capture = capture
        self.fps = _positive(capture.get(cv2.CAP_PROP_FPS))
        announced = None if device else _positive(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = None if announced is None else round(announced)
        self.finite = self.num_frames is not None

    def read(self) -> tuple[NDArray[np.uint8], float] | None:
        """See `FrameReader`."""
        if not self._capture.grab():
            return None
        grabbed_s = time.monotonic()  # before decoding, which takes milliseconds
        decoded, image = self._capture.retrieve()
        if not decoded or image is None:
            return None
        if image.ndim == 2:  # a monochrome camera
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return np.asarray(image, dtype=np.uint8), grabbed_s

    @property
    def position_s(self) -> float:
        """Place of the last frame in a recording."""
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3

    def close(self) -> None:
        """Release the device or file."""
        self._capture.release()


def open_capture(
    target: str | int, backend: int = cv2.CAP_ANY, parameters: Sequence[int] = ()
) -> cv2.VideoCapture | None:
    """Open ``target``; None when OpenCV cannot. ``parameters`` are property, value, ..."""
    quiet_opencv()
    try:
        if isinstance(target, int):
            capture = cv2.VideoCapture(target, backend, list(parameters))
        else:
            capture = cv2.VideoCapture(target, backend, list(parameters))
    except cv2.error:  # some builds raise where others return a closed capture
        return None
    if capture.isOpened():
        return capture
    capture.release()
    return None


def rgb_from_bgr(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A new array in RGB order."""
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def quiet_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr: our one line says what went wrong.

    Settings of the user's own environment win, e.g. ``OPENCV_LOG_LEVEL=DEBUG`` to look closer.
    The FFmpeg level is read at its first use in the process, hence no context manager.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    # A USB camera that falls silent blocks its reader for this long; OpenCV's own value is 10 s.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 5 has it in `cv2.utils.logging`, 4 in `cv2`; 0 is silent in both.
        where = getattr(cv2.utils, "logging", cv2)
        where.setLogLevel(0)


def build_feature(name: str) -> str | None:
    """What `cv2.getBuildInformation` says of ``name`` ("GStreamer", "GUI"); None for a no."""
    found = re.search(rf"^\s*{re.escape(name)}:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if found is None or found[1].upper() in {"NO", "NONE"}:
        return None
    return found[1]


def _positive(value: float) -> float | None:
    """OpenCV says "unknown" as 0, -1, NaN or a huge negative number."""
    return float(value) if np.isfinite(value) and value > 0 else None
