"""Cameras that GStreamer reads: `csi://N` of a Jetson, and pipelines of one's own, `gst://...`."""

import re
from collections.abc import Callable

import cv2

from ckd.contract.errors import EnvironmentUnusable, SourceUnavailable, UsageError
from ckd.runtime.sources.http_password import without_password
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, build_feature, open_capture
from ckd.runtime.sources.usb import CameraFormat

#: Gives OpenCV colours that it can take, and one buffer, so that no frames queue.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
_ADDRESS = re.compile(r"[a-z][\w+.-]*://\S+", re.IGNORECASE)
_SECRET = re.compile(r"(?i)\b([\w-]*(?:pass|pwd|-pw|token|secret|user-id)[\w-]*=)(\"[^\"]*\"|\S+)")


def gstreamer_pipeline(sensor: int, camera: CameraFormat) -> str:
    """NVIDIA's camera stack as a pipeline for OpenCV, with one buffer, so that no frames queue."""
    width_px, height_px = camera.width_px or 1920, camera.height_px or 1080
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),format=NV12,"
        f"width={width_px},height={height_px},framerate={round(camera.fps or 30)}/1 ! "
        f"nvvidconv ! video/x-raw,format=BGRx ! {_SINK}"
    )


def pipeline_of(source: str, camera: CameraFormat) -> str:
    """The pipeline that `csi://N` or `gst://PIPELINE` becomes, for OpenCV.

    A pipeline without a sink gets one that keeps the newest frame.

    Raises:
        UsageError: the sensor's number or the pipeline is missing.
    """
    scheme, _, rest = source.partition("://")
    rest = rest.strip()
    if scheme.lower() == "csi":
        if not rest.isdecimal():
            raise UsageError(f"{source}: expected csi://N with the sensor's number, e.g. csi://0")
        return gstreamer_pipeline(int(rest), camera)
    if not rest:
        raise UsageError("gst://: expected a pipeline, e.g. gst://v4l2src device=/dev/video0")
    return rest if "appsink" in rest else f"{rest.rstrip('! ')} ! {_SINK}"


def pipeline_shown(pipeline: str) -> str:
    """A pipeline as people may see it, without passwords in addresses and properties."""
    bare = _ADDRESS.sub(lambda found: without_password(found[0]), pipeline)
    return _SECRET.sub(r"\1***", bare)


def gstreamer_opener(source: str, camera: CameraFormat) -> Callable[[], FrameReader]:
    """What opens `csi://N` or `gst://PIPELINE`.

    Raises:
        UsageError: as `pipeline_of`.
        EnvironmentUnusable: this OpenCV has no GStreamer.
    """
    pipeline, name = pipeline_of(source, camera), pipeline_shown(source)
    if build_feature("GStreamer") is None:
        raise EnvironmentUnusable(
            f"{name}: this OpenCV ({cv2.__version__}) is built without GStreamer, as all wheels "
            "from PyPI are; on a Jetson use JetPack's: "
            "`pip uninstall opencv-python opencv-python-headless; sudo apt install python3-opencv`"
        )
    remedy = f"try it with `gst-launch-1.0`: {pipeline_shown(pipeline)}"
    if source.lower().startswith("csi"):
        remedy = (
            "check the ribbon cable, and restart the camera service with "
            "`sudo systemctl restart nvargus-daemon`"
        )

    def open_pipeline() -> FrameReader:
        capture = open_capture(pipeline, cv2.CAP_GSTREAMER)
        if capture is None:
            raise SourceUnavailable(f"{name}: the camera cannot be opened; {remedy}")
        return CaptureReader(capture, device=True)

    return open_pipeline
