"""Pipelines: what is typed becomes which, and what an OpenCV without GStreamer says."""

import pytest

from ckd.contract.errors import EnvironmentUnusable, SourceUnavailable, UsageError
from ckd.runtime.sources import CameraFormat, becomes, build_feature, gstreamer, open_source
from ckd.runtime.sources.gstreamer import pipeline_of, pipeline_shown

SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
without = pytest.mark.skipif(build_feature("GStreamer") is not None, reason="it has GStreamer")


def test_a_pipeline_gets_a_sink_that_keeps_the_newest_frame() -> None:
    assert pipeline_of("gst://v4l2src ! ", CameraFormat()) == f"v4l2src ! {SINK}"
    own = "videotestsrc ! appsink name=mine"
    assert pipeline_of(f"gst://{own}", CameraFormat()) == own
    with pytest.raises(UsageError, match="expected a pipeline"):
        open_source("gst://")


def test_it_is_said_which_pipeline_a_csi_camera_becomes() -> None:
    note = becomes("csi://1", CameraFormat(width_px=1280, height_px=720, fps=60))
    assert note.startswith("csi://1 is opened as gst://nvarguscamerasrc sensor-id=1 ! ")
    assert "width=1280,height=720,framerate=60/1" in note
    assert note.endswith(SINK)
    assert becomes("0") == ""


def test_passwords_of_a_pipeline_are_not_shown() -> None:
    typed = 'gst://rtspsrc location=rtsp://me:secret@cam/1 user-id=me user-pw="se cret" ! x'
    assert pipeline_shown(typed) == (
        "gst://rtspsrc location=rtsp://cam/1 user-id=*** user-pw=*** ! x"
    )


@without
def test_a_pipeline_without_gstreamer_is_refused_in_one_line() -> None:
    with pytest.raises(EnvironmentUnusable) as caught:
        open_source("gst://rtspsrc location=rtsp://me:secret@cam/1 ! decodebin", live=True)
    assert "built without GStreamer" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@without
def test_a_pipeline_that_does_not_open_is_said_with_the_command_to_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gstreamer, "build_feature", lambda name: "YES")
    with (
        open_source("gst://videotestsrc") as source,
        pytest.raises(SourceUnavailable, match=r"try it with `gst-launch-1\.0`: videotestsrc ! "),
    ):
        source.get(3.0)
