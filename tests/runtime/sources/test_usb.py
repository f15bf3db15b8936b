"""USB cameras that hand over their JPEG bytes, by a scripted `cv2.VideoCapture`."""

from typing import Any

import cv2
import numpy as np
import pytest
from mjpeg_camera import jpeg_of
from numpy.typing import NDArray

from ckd.picture import whole_rgb
from ckd.runtime.sources import CameraFormat, LatestFrame
from ckd.runtime.sources import usb as usb_module
from ckd.runtime.sources.faults import FrameFault
from ckd.runtime.sources.usb import JpegCameraReader, reader_for, usb_opener

JPEG, RAW = cv2.VideoWriter.fourcc(*"MJPG"), cv2.VideoWriter.fourcc(*"YUYV")


class ScriptedCapture:
    """As OpenCV's V4L2 capture: without conversion it gives the bytes of the buffer, in one row.

    Args:
        contents: JPEG files, one for each grab.
        fourcc: the format that the camera gives, whatever it is asked for.
        takes: False for a driver that cannot leave out the conversion.
        gives_row: False for one that says it can, and gives pixels.
    """

    def __init__(
        self, *contents: bytes, fourcc: int = JPEG, takes: bool = True, gives_row: bool = True
    ) -> None:
        self.contents = list(contents)
        self.fourcc, self.takes, self.gives_row = fourcc, takes, gives_row
        self.converts = True
        self.released = False
        self.asked: dict[int, float] = {}
        self._content = b""

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FOURCC: float(self.fourcc), cv2.CAP_PROP_FPS: 30.0}.get(name, 0.0)

    def set(self, name: int, value: float) -> bool:
        self.asked[name] = value
        if name == cv2.CAP_PROP_CONVERT_RGB and self.takes:
            self.converts = bool(value)
        return self.takes

    def grab(self) -> bool:
        if not self.contents:
            return False
        self._content = self.contents.pop(0)
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        row = np.frombuffer(self._content, np.uint8)
        if self.converts or not self.gives_row:
            return True, np.asarray(cv2.imdecode(row, cv2.IMREAD_COLOR), np.uint8)
        return True, row[None]

    def release(self) -> None:
        self.released = True


def reader_of(capture: Any) -> Any:
    return reader_for(capture)


def test_the_bytes_of_the_camera_are_decoded_by_us() -> None:
    padded = jpeg_of(2) + bytes(4096)  # drivers hand over the rest of their buffer too
    reader = reader_of(ScriptedCapture(jpeg_of(1), padded))
    assert isinstance(reader, JpegCameraReader)
    for number, sent in ((1, jpeg_of(1)), (2, padded)):
        grabbed = reader.read()
        assert grabbed is not None
        assert (grabbed.jpeg, grabbed.is_rgb) == (sent, True)
        np.testing.assert_array_equal(grabbed.image, whole_rgb(jpeg_of(number)))
    assert reader.read() is None


def test_a_frame_that_is_cut_off_is_a_fault_and_the_next_one_is_given() -> None:
    reader = reader_of(ScriptedCapture(jpeg_of(1)[:3000], b"", jpeg_of(2)))
    for _ in range(2):
        with pytest.raises(FrameFault) as caught:
            reader.read()
        assert caught.value.kind == "damaged"
    assert reader.read().jpeg == jpeg_of(2)


@pytest.mark.parametrize(
    "capture",
    [
        ScriptedCapture(jpeg_of(1), fourcc=RAW),
        ScriptedCapture(jpeg_of(1), takes=False),
        ScriptedCapture(jpeg_of(0), jpeg_of(1), gives_row=False),
    ],
    ids=["no JPEG", "driver refuses", "driver gives pixels"],
)
def test_otherwise_opencv_decodes(capture: ScriptedCapture) -> None:
    grabbed = reader_of(capture).read()
    assert (grabbed.jpeg, grabbed.is_rgb) == (None, False)
    expected = cv2.imdecode(np.frombuffer(jpeg_of(1), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(grabbed.image, expected)
    assert capture.converts


def test_a_camera_is_opened_for_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = ScriptedCapture(jpeg_of(1)[:3000], jpeg_of(2))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(usb_module, "_check_device", lambda device: None)
    monkeypatch.setattr(usb_module, "open_capture", lambda index, backend: capture)
    wanted = CameraFormat(width_px=1280, height_px=720, fps=30)
    with LatestFrame(usb_opener(3, wanted, check_now=True), name="3") as source:
        frame = source.get(2.0)
        assert frame is not None
        assert frame.jpeg == jpeg_of(2)
        assert source.faults["damaged"] == 1
    assert capture.asked[cv2.CAP_PROP_FOURCC] == JPEG
    assert capture.asked[cv2.CAP_PROP_FRAME_WIDTH] == 1280
    assert capture.asked[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert capture.released
