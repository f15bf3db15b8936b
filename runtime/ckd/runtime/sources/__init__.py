"""Where frames come from: video files, cameras and network streams, all as uint8 RGB.

open_source   the one entry point: turns what a user typed into a source
VideoFile     every frame of a file, in order
LatestFrame   the newest frame of something that does not wait for us
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.sources.cameras import connected_cameras
    from ckd.runtime.sources.capture import open_source
    from ckd.runtime.sources.faults import FaultKind, faults_shown
    from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
    from ckd.runtime.sources.images import image_files, images_below
    from ckd.runtime.sources.latest import LatestFrame, Reconnect
    from ckd.runtime.sources.opencv import build_feature, open_capture, quiet_opencv
    from ckd.runtime.sources.usb import CameraFormat
    from ckd.runtime.sources.video import VideoFile
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.sources.cameras": "connected_cameras",
            "ckd.runtime.sources.capture": "open_source",
            "ckd.runtime.sources.faults": "FaultKind faults_shown",
            "ckd.runtime.sources.frames": "Frame FrameSource SourceState",
            "ckd.runtime.sources.images": "image_files images_below",
            "ckd.runtime.sources.latest": "LatestFrame Reconnect",
            "ckd.runtime.sources.opencv": "build_feature open_capture quiet_opencv",
            "ckd.runtime.sources.usb": "CameraFormat",
            "ckd.runtime.sources.video": "VideoFile",
        },
    )

__all__ = [
    "CameraFormat",
    "FaultKind",
    "Frame",
    "FrameSource",
    "LatestFrame",
    "Reconnect",
    "SourceState",
    "VideoFile",
    "build_feature",
    "connected_cameras",
    "faults_shown",
    "image_files",
    "images_below",
    "open_capture",
    "open_source",
    "quiet_opencv",
]
