"""Opens the source of frames that a user has typed.

0  /dev/video0             camera by index or device file (Linux; elsewhere by index only)
/dev/v4l/by-id/...         camera by a link that stays; `v4l2:///dev/...` is the same
usb:VID:PID[:SERIAL]       USB camera by maker, product and serial number
csi://0                    camera on a Jetson's CSI connector (needs OpenCV with GStreamer)
gst://PIPELINE             a pipeline of one's own (likewise)
rtsp://  http://  https:// network camera (MJPEG, single pictures, or anything FFmpeg reads)
path/to/clip.mp4           video file, or a folder of images
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ckd.contract.errors import SourceUnavailable, UsageError
from ckd.runtime.sources.frames import FrameSource
from ckd.runtime.sources.gstreamer import gstreamer_opener, pipeline_of, pipeline_shown
from ckd.runtime.sources.http_password import without_password
from ckd.runtime.sources.latest import LatestFrame, Reconnect
from ckd.runtime.sources.network import NetworkOpener
from ckd.runtime.sources.opencv import FrameReader
from ckd.runtime.sources.seeking import CameraSeeker, looks_like_camera
from ckd.runtime.sources.usb import CameraFormat, usb_opener
from ckd.runtime.sources.video import VideoFile, open_recording

_GRAMMAR = (
    "a camera index (0), /dev/videoN, usb:VID:PID, csi://N, gst://PIPELINE, rtsp://, http://, "
    "https:// or a video file"
)


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
        SourceUnavailable: the device or file does not exist, or two cameras may be meant; for a
            network camera, `get` raises it.
    """
    text = source.strip()
    reconnect = reconnect or PATIENT
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    opener: Callable[[], FrameReader]
    interrupt: Callable[[], None] | None = None
    path = recording_of(text)
    if not text:
        raise UsageError(f"the source is empty; expected {_GRAMMAR}")
    if looks_like_camera(text):
        name = text
        opener = usb_opener(
            CameraSeeker(text), camera or CameraFormat(), check_now=not reconnect.at_start
        )
    elif scheme == "csi":
        name, opener = text, gstreamer_opener(text, camera or CameraFormat())
    elif camera is not None:
        raise UsageError(f"{without_password(text)}: width, height and fps are for cameras only")
    elif scheme == "gst":
        name, opener = pipeline_shown(text), gstreamer_opener(text, CameraFormat())
    elif scheme in ("rtsp", "rtsps", "http", "https"):
        name = without_password(text)
        opener = NetworkOpener(text, name, open_timeout_s, read_timeout_s)
        interrupt = opener.interrupt
    elif scheme:
        raise UsageError(f"{without_password(text)}: not a source; expected {_GRAMMAR}")
    else:
        assert path is not None
        if not path.exists():
            # An address without its beginning is none, and may hold a password all the same.
            is_bare = without_password(f"//{text}") == f"//{text}"
            named = path if is_bare else "the source"
            raise SourceUnavailable(f"{named}: no such file; expected {_GRAMMAR}")
        if not live:
            return VideoFile(path)
        open_recording(path).close()  # so that a wrong file is an error now
        name, opener = path.name, partial(open_recording, path)
    # OpenCV cannot be interrupted, so closing may have to wait for it to open and to read.
    patience_s = open_timeout_s + read_timeout_s + 1
    return LatestFrame(
        opener, name=name, recording=path, reconnect=reconnect, close_timeout_s=patience_s,
        interrupt=interrupt,
    )  # fmt: skip


def recording_of(source: str) -> Path | None:
    """The file or folder that what was typed names; None if it is a camera or stream."""
    text = source.strip()
    if not text or looks_like_camera(text) or "://" in text:
        return None
    return Path(text).expanduser()


def takes_format(source: str) -> bool:
    """Whether what was typed is asked for a format: a camera of this machine."""
    text = source.strip()
    return looks_like_camera(text) or text.lower().startswith("csi://")


def becomes(source: str, camera: CameraFormat | None = None) -> str:
    """What `csi://N` is opened as, in words for people; empty for other sources.

    Raises:
        UsageError: the sensor's number is missing.
    """
    text = source.strip()
    if not text.lower().startswith("csi://"):
        return ""
    return f"{text} is opened as gst://{pipeline_of(text, camera or CameraFormat())}"
