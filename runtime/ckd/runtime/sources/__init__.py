"""Where frames come from: video files, cameras and network streams, all as uint8 RGB.

open_source   the one entry point: turns what a user typed into a source
CameraSeeker  finds a camera by its name, and the same one again after a loss
VideoFile     every frame of a file, in order
LatestFrame   the newest frame of something that does not wait for us
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.sources.cameras import connected_cameras
    from ckd.runtime.sources.capture import becomes, open_source, recording_of, takes_format
    from ckd.runtime.sources.controls import Locks
    from ckd.runtime.sources.faults import FaultKind, faults_shown
    from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
    from ckd.runtime.sources.http_password import without_password
    from ckd.runtime.sources.images import image_files, images_below
    from ckd.runtime.sources.latest import LatestFrame, Reconnect
    from ckd.runtime.sources.names import InputNames, input_label
    from ckd.runtime.sources.opencv import build_feature, open_capture, quiet_opencv
    from ckd.runtime.sources.seeking import CameraSeeker, looks_like_camera
    from ckd.runtime.sources.usb import CameraFormat
    from ckd.runtime.sources.usb_bus import UsbDevice, usb_device_of
    from ckd.runtime.sources.video import VideoFile
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.sources.cameras": "connected_cameras",
            "ckd.runtime.sources.capture": "becomes open_source recording_of takes_format",
            "ckd.runtime.sources.controls": "Locks",
            "ckd.runtime.sources.faults": "FaultKind faults_shown",
            "ckd.runtime.sources.frames": "Frame FrameSource SourceState",
            "ckd.runtime.sources.http_password": "without_password",
            "ckd.runtime.sources.images": "image_files images_below",
            "ckd.runtime.sources.latest": "LatestFrame Reconnect",
            "ckd.runtime.sources.names": "InputNames input_label",
            "ckd.runtime.sources.opencv": "build_feature open_capture quiet_opencv",
            "ckd.runtime.sources.seeking": "CameraSeeker looks_like_camera",
            "ckd.runtime.sources.usb": "CameraFormat",
            "ckd.runtime.sources.usb_bus": "UsbDevice usb_device_of",
            "ckd.runtime.sources.video": "VideoFile",
        },
    )

__all__ = [
    "CameraFormat",
    "CameraSeeker",
    "FaultKind",
    "Frame",
    "FrameSource",
    "InputNames",
    "LatestFrame",
    "Locks",
    "Reconnect",
    "SourceState",
    "UsbDevice",
    "VideoFile",
    "becomes",
    "build_feature",
    "connected_cameras",
    "faults_shown",
    "image_files",
    "images_below",
    "input_label",
    "looks_like_camera",
    "open_capture",
    "open_source",
    "quiet_opencv",
    "recording_of",
    "takes_format",
    "usb_device_of",
    "without_password",
]
