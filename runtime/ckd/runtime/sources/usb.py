"""USB cameras: JPEG as the camera sends it, where the driver hands it over.

On Linux (V4L2) a camera is asked for JPEG, because USB 2 is too slow for raw pictures of an HD
camera. Its driver then gives the bytes to us in place of OpenCV, whose decoder shows what it can of
a frame that a full USB bus cut off. Where driver or camera refuse, OpenCV decodes as it always did.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from typing_extensions import override

from ckd.contract.errors import SourceUnavailable, UsageError
from ckd.runtime.sources.controls import Locks, lock_controls
from ckd.runtime.sources.faults import Grabbed
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, open_capture
from ckd.runtime.sources.seeking import CameraSeeker
from ckd.runtime.sources.whole import FrameDecoder

_JPEG = cv2.VideoWriter.fourcc(*"MJPG")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFormat:
    """What to request of a USB or CSI camera, which gives the nearest format that it has.

    Attributes:
        width_px: of the pictures.
        height_px: likewise.
        fps: pictures per second.
        pixel_format: four letters of Video for Linux, as "YUYV"; JPEG if None.
        locks: what a USB camera is held at; it may regulate the rest by itself.
    """

    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    pixel_format: str | None = None
    locks: Locks = field(default_factory=Locks)


def usb_opener(
    wanted: int | CameraSeeker, camera: CameraFormat, *, check_now: bool
) -> Callable[[], FrameReader]:
    """What opens a camera, and after a loss the same one again.

    Args:
        wanted: index of the camera, or who finds it.
        camera: format to request.
        check_now: a device file that is missing is an error now, and not when it is opened.

    Raises:
        SourceUnavailable: there is no such device, or this user may not use it.
        UsageError: cameras have no names but indices on this system.
    """
    seeker = CameraSeeker(str(wanted)) if isinstance(wanted, int) else wanted
    if not sys.platform.startswith("linux"):
        return _opener_elsewhere(seeker.name, camera)
    parameters = [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*(camera.pixel_format or "MJPG"))]
    parameters += _parameters(camera)

    def open_camera() -> FrameReader:
        device = seeker.device()
        _check_device(device)
        capture = _opened(str(device), int(device.name.removeprefix("video")), cv2.CAP_V4L2)
        try:
            _set(capture, parameters)
            lock_controls(device, camera.locks)
            if seeker.device() != device:
                raise SourceUnavailable(f"{device}: another camera got its number meanwhile")
            seeker.opened(device)
        except BaseException:
            capture.release()
            raise
        return reader_for(capture)

    if check_now:
        _check_device(seeker.device())
    return open_camera


def _opener_elsewhere(name: str, camera: CameraFormat) -> Callable[[], FrameReader]:
    if not name.isdecimal() or camera.locks:
        raise UsageError(
            f"{name}: names and locks of cameras need Linux; expected a camera index, as 0"
        )

    def open_camera() -> FrameReader:
        capture = _opened(f"camera {name}", int(name), cv2.CAP_ANY)
        _set(capture, _parameters(camera))
        return CaptureReader(capture, device=True)

    return open_camera


def _parameters(camera: CameraFormat) -> list[int]:
    parameters: list[int] = []
    if camera.width_px and camera.height_px:
        parameters += [cv2.CAP_PROP_FRAME_WIDTH, camera.width_px]
        parameters += [cv2.CAP_PROP_FRAME_HEIGHT, camera.height_px]
    if camera.fps:
        parameters += [cv2.CAP_PROP_FPS, round(camera.fps)]
    return parameters


def _opened(device: str, index: int, backend: int) -> cv2.VideoCapture:
    capture = open_capture(index, backend)
    if capture is None:
        raise SourceUnavailable(
            f"{device}: cannot be opened as a camera; "
            "close other programs that use it, or try another index"
        )
    return capture


def _set(capture: cv2.VideoCapture, parameters: list[int]) -> None:
    """Set after opening, because an unknown property would make opening fail."""
    for name, value in zip(parameters[::2], parameters[1::2], strict=True):
        capture.set(name, value)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


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
        devices = ", ".join(sorted(str(path) for path in device.parent.glob("video*"))) or "none"
        raise SourceUnavailable(f"{device}: no such camera (connected: {devices}); plug it in")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceUnavailable(
            f"{device}: no permission; add this user to the group `video` and log in again"
        )
