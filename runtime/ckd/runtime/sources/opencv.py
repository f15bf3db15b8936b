"""OpenCV's video capture: without its messages, with time-outs, and with the time of each grab.

Arrays named ``*_bgr`` are uint8 HWC in OpenCV's channel order; `rgb_from_bgr` converts them.
"""

import os
import re
import time
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.runtime.sources.faults import Grabbed

#: Of OpenCV's own settings the first; by the second FFmpeg drops packets that it knows are damaged.
_FFMPEG_OPTIONS = "rtsp_flags;prefer_tcp|fflags;discardcorrupt"


class FrameReader(Protocol):
    """An open source, used by one thread.

    Attributes:
        fps: frames per second as the source states it; None if it does not.
        finite: True for a recording, whose end is no fault.
    """

    fps: float | None
    finite: bool

    def read(self) -> Grabbed | None:
        """The next picture and the time when it was grabbed; None if there is none.

        Raises:
            FrameFault: there is one that must not be analysed; the next may be well.
            SourceUnavailable: the source is lost.
        """

    def close(self) -> None:
        """Release the source."""


class Recording(FrameReader, Protocol):
    """An open source whose frames wait.

    Attributes:
        num_frames: that it announces, which may be an estimate; None if it does not.
        num_damaged: frames so far that could not be read, and were passed over.
        size_hw: rows and columns of the first frame, upright.
        position_s: time of the last frame that was read, from the first.
    """

    num_frames: int | None
    num_damaged: int
    size_hw: tuple[int, int]
    position_s: float


class CaptureReader(FrameReader):
    """Reads from an open `cv2.VideoCapture`, and closes it.

    Args:
        capture: open.
        device: True for a camera, which has no last frame even if its driver announces one.

    Attributes:
        num_frames: that the container announces; None for cameras and streams.
        position_s: time of the last frame from the start of a recording; 0 for others.
    """

    def __init__(self, capture: cv2.VideoCapture, *, device: bool = False) -> None:
        self._capture = capture
        self.fps = _positive(capture.get(cv2.CAP_PROP_FPS))
        announced = None if device else _positive(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = None if announced is None else round(announced)
        self.finite = self.num_frames is not None
        self.position_s = 0.0

    @override
    def read(self) -> Grabbed | None:
        if not self._capture.grab():
            return None
        grabbed_s = time.monotonic()  # before decoding, which takes milliseconds
        if self.finite:  # OpenCV 5 forgets it at the end of the file
            self.position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        decoded, image = self._capture.retrieve()
        if not decoded or image is None:
            return None
        if image.ndim == 2:  # a monochrome camera
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return Grabbed(np.asarray(image, dtype=np.uint8), grabbed_s)

    @override
    def close(self) -> None:
        self._capture.release()


def open_capture(
    target: str | int, backend: int = cv2.CAP_ANY, parameters: Sequence[int] = ()
) -> cv2.VideoCapture | None:
    """Open a file, address or camera; None if OpenCV cannot.

    Args:
        target: file, address, or index of a camera.
        backend: of OpenCV.
        parameters: property, value, property, value and so on.
    """
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


def rgb_of(grabbed: Grabbed) -> NDArray[np.uint8]:
    """The picture in RGB order, converted if it must be."""
    return grabbed.image if grabbed.is_rgb else rgb_from_bgr(grabbed.image)


def rgb_from_bgr(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A new array in RGB order."""
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def quiet_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr, where our errors are one line each.

    Settings in the user's environment have priority, e.g. ``OPENCV_LOG_LEVEL=DEBUG`` to debug.
    FFmpeg reads its level once in a process, so this cannot be undone afterwards.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    # How long a silent USB camera blocks its reader, in seconds; OpenCV's default is 10.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # In OpenCV 5 the function is in `cv2.utils.logging`, in 4 in `cv2`; 0 is silent in both.
        module = getattr(cv2.utils, "logging", cv2)
        module.setLogLevel(0)


def discard_corrupt() -> None:
    """Have FFmpeg drop what it knows to be damaged, of sources that are opened from now on.

    What the user's environment says in ``OPENCV_FFMPEG_CAPTURE_OPTIONS`` has priority, as a whole.
    """
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)


def build_feature(name: str) -> str | None:
    """Value of a feature ("GStreamer", "GUI") in `cv2.getBuildInformation`; None for "no"."""
    line = re.search(rf"^\s*{re.escape(name)}:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if line is None or line[1].upper() in {"NO", "NONE"}:
        return None
    return line[1]


def _positive(value: float) -> float | None:
    """None for a value that is unknown: OpenCV gives 0, -1, NaN or a huge negative number."""
    return float(value) if np.isfinite(value) and value > 0 else None
