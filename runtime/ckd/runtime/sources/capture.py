"""Opens the source of frames that a user has typed.

0                          camera by index
/dev/video0                camera by device file, or a link to one as in /dev/v4l/by-id (Linux)
csi://0                    camera on a Jetson's CSI connector (needs OpenCV with GStreamer)
rtsp://  http://  https:// network camera (MJPEG or anything FFmpeg reads)
path/to/clip.mp4           video file
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from ckd.contract.errors import EnvironmentUnusable, SourceUnavailable, UsageError
from ckd.runtime.sources.frames import FrameSource
from ckd.runtime.sources.latest import LatestFrame, Reconnect
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, build_feature, open_capture
from ckd.runtime.sources.video import VideoFile, VideoFileReader

_GRAMMAR = "a camera index (0), /dev/videoN, csi://N, rtsp://, http://, https:// or a video file"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFormat:
    """The format to request of a USB or CSI camera, which gives the nearest one that it has."""

    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None


def open_source(
    source: str,
    *,
    live: bool = False,
    camera: CameraFormat | None = None,
    reconnect: Reconnect | None = None,
    open_timeout_s: float = 5.0,
    read_timeout_s: float = 3.0,
) -> FrameSource:
    """Open a source; the top of this file lists what may be typed.

    A camera or stream becomes a `LatestFrame`, which connects in the background, so that networks
    can load meanwhile. A file becomes a `VideoFile`, or with ``live`` a `LatestFrame`, which plays
    it at its own speed and drops frames that the consumer is too slow for, as a camera does.

    Args:
        source: as typed.
        live: play files as a camera.
        camera: format to request; for cameras only.
        reconnect: how to reconnect to a lost camera or stream.
        open_timeout_s: of network cameras.
        read_timeout_s: of network cameras.

    Raises:
        UsageError: the text names no source.
        EnvironmentUnusable: this OpenCV cannot open such a source.
        SourceUnavailable: the device or file does not exist; for a network camera, `get` raises it.
    """
    text = source.strip()
    reconnect = reconnect or Reconnect()
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    opener: Callable[[], FrameReader]
    if not text:
        raise UsageError(f"the source is empty; expected {_GRAMMAR}")
    device = os.path.realpath(text) if text.startswith("/dev/") else text  # /dev/v4l/by-id/...
    if match := re.fullmatch(r"(?:/dev/video)?(\d+)", device):
        name, opener = text, _usb_opener(int(match[1]), camera or CameraFormat(), reconnect)
    elif scheme == "csi":
        name, opener = text, _csi_opener(text, camera or CameraFormat())
    elif camera is not None:
        raise UsageError(f"{_without_password(text)}: width, height and fps are for cameras only")
    elif scheme in ("rtsp", "rtsps", "http", "https"):
        name = _without_password(text)
        opener = _network_opener(text, name, open_timeout_s, read_timeout_s)
    elif scheme:
        raise UsageError(f"{_without_password(text)}: not a source; expected {_GRAMMAR}")
    else:
        path = Path(text).expanduser()
        if not path.exists():
            raise SourceUnavailable(f"{text}: no such file; expected {_GRAMMAR}")
        if not live:
            return VideoFile(path)
        VideoFileReader(path).close()  # so that a wrong file is an error now
        name, opener = path.name, lambda: VideoFileReader(path)
    # A read and an open cannot be interrupted, so closing may have to wait for one of each.
    patience_s = open_timeout_s + read_timeout_s + 1
    return LatestFrame(opener, name=name, reconnect=reconnect, close_timeout_s=patience_s)


def gstreamer_pipeline(sensor: int, camera: CameraFormat) -> str:
    """NVIDIA's camera stack as a pipeline for OpenCV, with one buffer, so that no frames queue."""
    width_px, height_px = camera.width_px or 1920, camera.height_px or 1080
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),format=NV12,"
        f"width={width_px},height={height_px},framerate={round(camera.fps or 30)}/1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def _usb_opener(
    index: int, camera: CameraFormat, reconnect: Reconnect
) -> Callable[[], FrameReader]:
    on_linux = sys.platform.startswith("linux")
    device = f"/dev/video{index}" if on_linux else f"camera {index}"
    parameters: list[int] = []
    if on_linux:
        # USB 2 is too slow for raw pictures of an HD camera; with JPEG it keeps its frame rate.
        parameters += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
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
        return CaptureReader(capture, device=True)

    if on_linux and not reconnect.at_start:
        _check_device(Path(device))
    return open_camera


def _check_device(device: Path) -> None:
    if not device.exists():
        devices = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise SourceUnavailable(f"{device}: no such camera (connected: {devices}); plug it in")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceUnavailable(
            f"{device}: no permission; add this user to the group `video` and log in again"
        )


def _csi_opener(source: str, camera: CameraFormat) -> Callable[[], FrameReader]:
    match = re.fullmatch(r"csi://(\d+)", source, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{source}: expected csi://N with the sensor's number, e.g. csi://0")
    if build_feature("GStreamer") is None:
        raise EnvironmentUnusable(
            f"{source}: this OpenCV ({cv2.__version__}) is built without GStreamer, as all wheels "
            "from PyPI are; on a Jetson use JetPack's: "
            "`pip uninstall opencv-python opencv-python-headless; sudo apt install python3-opencv`"
        )
    pipeline = gstreamer_pipeline(int(match[1]), camera)

    def open_csi() -> FrameReader:
        capture = open_capture(pipeline, cv2.CAP_GSTREAMER)
        if capture is None:
            raise SourceUnavailable(
                f"{source}: the CSI camera cannot be opened; check the ribbon cable, "
                "and restart the camera service with `sudo systemctl restart nvargus-daemon`"
            )
        return CaptureReader(capture, device=True)

    return open_csi


def _network_opener(
    url: str, name: str, open_timeout_s: float, read_timeout_s: float
) -> Callable[[], FrameReader]:
    try:
        host = urlsplit(url).hostname
    except ValueError:  # an unclosed bracket
        host = None
    if not host:
        raise UsageError(f"{name}: no host in the address; expected e.g. http://192.168.1.20/video")
    parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * open_timeout_s)]
    parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1000 * read_timeout_s)]

    def open_stream() -> FrameReader:
        capture = open_capture(url, cv2.CAP_FFMPEG, parameters)
        if capture is None:
            raise SourceUnavailable(
                f"{name}: no video stream within {open_timeout_s:g} s; check that the camera is "
                "on and reachable from here, and its address, user name and password"
            )
        return CaptureReader(capture)

    return open_stream


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
