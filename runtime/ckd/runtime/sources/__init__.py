"""Where frames come from: video files, cameras and network streams, all as uint8 RGB.

open_source   the one entry point: turns what a user typed into a source
VideoFile     every frame of a file, in order
LatestFrame   the newest frame of something that does not wait for us
"""

from ckd.runtime.sources.capture import CameraFormat, open_source
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
from ckd.runtime.sources.latest import LatestFrame, Reconnect
from ckd.runtime.sources.video import VideoFile

__all__ = [
    "CameraFormat",
    "Frame",
    "FrameSource",
    "LatestFrame",
    "Reconnect",
    "SourceState",
    "VideoFile",
    "open_source",
]
