"""USB cameras: JPEG as the camera sends it, where the driver hands it over.

On Linux (V4L2) a camera is asked for JPEG, because USB 2 is too slow for raw pictures of an HD
camera. Its driver then gives the bytes to us in place of OpenCV, whose decoder shows what it can of
a frame that a full USB bus cut off. Where driver or camera refuse, OpenCV decodes as it always did.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from typing_extensions import override

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources.faults import Grabbed
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, open_capture
from ckd.runtime.sources.whole import FrameDecoder

_JPEG = cv2.VideoWriter.fourcc(*"MJPG")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFormat:
    """The format to request of a USB or CSI camera, which gives the nearest one that it has."""

    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None


def usb_opener(index: int, camera: CameraFormat, *, check_now: bool) -> Callable[[], FrameReader]:
    """What opens the camera of an index.

    Args:
        index: of the camera.
        camera: format to request.
        check_now: a device file that is missing is an error now, and not when it is opened.

    Raises:
        SourceUnavailable: there is no such device, or this user may not use it.
    """
    on_linux = sys.platform.startswith("linux")
    device = f"/dev/video{index}" if on_linux else f"camera {index}"
    parameters: list[int] = []
    if on_linux:
        parameters += [cv2.CAP_PROP_FOURCC, _JPEG]
    if camera.width_px and camera.height_px:
        parameters += [cv2.CAP_PROP_FRAME_WIDTH, camera.width_px]
        parameters += [cv2.CAP_PROP_FRAME_HEIGHT, camera.height_px]
    if camera.fps:
        parameters += [cv2.CAP_PROP_FPS, round(camera.fps)]

    def open_camera() -> FrameReader:
        if on_linux:
            _check_device(Path(device))
        capture = open_capture(index, cv2.CAP_V4L2 if on_linux else cv2.CAP_ANY)
        if capture is None:
            raise SourceUnavailable(
                f"{device}: cannot be opened as a camera; "
                "close other programs that use it, or try another index"
            )
        # Set after opening, because an unknown property would make opening fail.
        for name, value in zip(parameters[::2], parameters[1::2], strict=True):
            capture.set(name, value)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return reader_for(capture) if on_linux else CaptureReader(capture, device=True)

    if on_linux and check_now:
        _check_device(Path(device))
    return open_camera


def reader_for(capture: cv2.VideoCapture) -> FrameReader:
    """A reader of an open V4L2 camera: of its JPEG bytes, if driver and camera give them."""
    is_jpeg = round(capture.get(cv2.CAP_PROP_FOURCC)) == _JPEG
    if is_jpeg and capture.set(cv2.CAP_PROP_CONVERT_RGB, 0):
        return JpegCameraReader(capture)
    return CaptureReader(capture, device=True)


class JpegCameraReader(CaptureReader):
    """Reads the JPEG bytes of an open V4L2 camera; only whole frames pass.

    If what comes is no row of bytes after all, OpenCV is asked to decode, as for other cameras.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        super().__init__(capture, device=True)
        self._is_raw = True
        self._decoder = FrameDecoder()

    @override
    def read(self) -> Grabbed | None:
        """The next frame.

        Raises:
            FrameFault: it did not arrive whole, or its size is impossible.
        """
        if not self._is_raw:
            return super().read()
        if not self._capture.grab():
            return None
        grabbed_s = time.monotonic()
        received, raw = self._capture.retrieve()
        if not received or raw is None:
            return None
        if raw.dtype != np.uint8 or (raw.ndim != 1 and raw.shape[0] != 1):  # no row: pixels
            self._is_raw = False
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 1)
            return super().read()
        return self._decoder.decode(raw.tobytes(), grabbed_s)


def _check_device(device: Path) -> None:
    if not device.exists():
        devices = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise SourceUnavailable(f"{device}: no such camera (connected: {devices}); plug it in")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceUnavailable(
            f"{device}: no permission; add this user to the group `video` and log in again"
        )
