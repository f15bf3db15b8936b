"""Opens the source of frames that a user has typed.

0                          camera by index
/dev/video0                camera by device file, or a link to one as in /dev/v4l/by-id (Linux)
csi://0                    camera on a Jetson's CSI connector (needs OpenCV with GStreamer)
rtsp://  http://  https:// network camera (MJPEG, single pictures, or anything FFmpeg reads)
path/to/clip.mp4           video file, or a folder of images
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2

from ckd.contract.errors import EnvironmentUnusable, SourceUnavailable, UsageError
from ckd.runtime.sources.frames import FrameSource
from ckd.runtime.sources.http_password import without_password
from ckd.runtime.sources.latest import LatestFrame, Reconnect
from ckd.runtime.sources.network import NetworkOpener
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, build_feature, open_capture
from ckd.runtime.sources.usb import CameraFormat, usb_opener
from ckd.runtime.sources.video import VideoFile, open_recording

_GRAMMAR = "a camera index (0), /dev/videoN, csi://N, rtsp://, http://, https:// or a video file"


#: Attempts for about a minute, so close to each other that a camera is seen within 3 s of its
#: return.
PATIENT = Reconnect(max_attempts=30, max_delay_s=2.0)


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
    reconnect = reconnect or PATIENT
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    opener: Callable[[], FrameReader]
    interrupt: Callable[[], None] | None = None
    if not text:
        raise UsageError(f"the source is empty; expected {_GRAMMAR}")
    device = os.path.realpath(text) if text.startswith("/dev/") else text  # /dev/v4l/by-id/...
    if match := re.fullmatch(r"(?:/dev/video)?(\d+)", device):
        name = text
        opener = usb_opener(
            int(match[1]), camera or CameraFormat(), check_now=not reconnect.at_start
        )
    elif scheme == "csi":
        name, opener = text, _csi_opener(text, camera or CameraFormat())
    elif camera is not None:
        raise UsageError(f"{without_password(text)}: width, height and fps are for cameras only")
    elif scheme in ("rtsp", "rtsps", "http", "https"):
        name = without_password(text)
        opener = NetworkOpener(text, name, open_timeout_s, read_timeout_s)
        interrupt = opener.interrupt
    elif scheme:
        raise UsageError(f"{without_password(text)}: not a source; expected {_GRAMMAR}")
    else:
        path = Path(text).expanduser()
        if not path.exists():
            raise SourceUnavailable(f"{text}: no such file; expected {_GRAMMAR}")
        if not live:
            return VideoFile(path)
        open_recording(path).close()  # so that a wrong file is an error now
        name, opener = path.name, lambda: open_recording(path)
    # OpenCV cannot be interrupted, so closing may have to wait for it to open and to read.
    patience_s = open_timeout_s + read_timeout_s + 1
    return LatestFrame(
        opener, name=name, reconnect=reconnect, close_timeout_s=patience_s, interrupt=interrupt
    )


def gstreamer_pipeline(sensor: int, camera: CameraFormat) -> str:
    """NVIDIA's camera stack as a pipeline for OpenCV, with one buffer, so that no frames queue."""
    width_px, height_px = camera.width_px or 1920, camera.height_px or 1080
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),format=NV12,"
        f"width={width_px},height={height_px},framerate={round(camera.fps or 30)}/1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
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
