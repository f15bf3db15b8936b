"""Cameras by their names on a made-up device tree: found again, and never swapped."""

from pathlib import Path
from typing import Any

import pytest
from made_up_usb import Usb
from mjpeg_camera import jpeg_of
from tests.runtime.sources.test_usb import ScriptedCapture

from ckd.contract.errors import SourceUnavailable, UsageError
from ckd.runtime.sources import (
    CameraFormat,
    LatestFrame,
    Locks,
    Reconnect,
    UsbDevice,
    open_source,
)
from ckd.runtime.sources import usb as usb_module
from ckd.runtime.sources.cameras import connected_cameras
from ckd.runtime.sources.seeking import CameraSeeker, looks_like_camera
from ckd.runtime.sources.usb import usb_opener


@pytest.fixture
def usb(tmp_path: Path) -> Usb:
    return Usb(tmp_path.resolve())


def seeker(usb: Usb, name: str) -> CameraSeeker:
    return CameraSeeker(name, usb.root, usb.asked)


def found(usb: Usb, name: str) -> str:
    return seeker(usb, name).device().name


def test_a_camera_is_found_by_each_of_its_names(usb: Usb) -> None:
    usb.plug(0, port="1-1", kind="046d:0825")
    usb.plug(2, port="1-2", serial="0042")
    for name in (
        "2", "/dev/video2", "v4l2:///dev/video2", "v4l2://2", "usb:2CE3:9563",
        "usb:2ce3:9563:0042", "/dev/v4l/by-id/usb-Maker_0042-0-index0",
        "/dev/v4l/by-path/pci-usb-1-2-0-index0",
    ):  # fmt: skip
        assert found(usb, name) == "video2", name
    listed = {camera.source: camera.usb for camera in connected_cameras(usb.root, usb.asked)}
    assert listed["/dev/video2"] == UsbDevice("2ce3", "9563", "0042", "1-2", "00")
    assert listed["/dev/video2"].source == "usb:2ce3:9563:0042"


def test_what_is_not_there_is_said_with_what_is(usb: Usb) -> None:
    usb.plug(0, port="1-1", serial="0041")
    for name in ("usb:2ce3:9563:0042", "/dev/v4l/by-id/none", "v4l2:///dev/v4l/by-path/none"):
        with pytest.raises(SourceUnavailable, match=r"no such camera .*(0041|video0).*plug it in"):
            found(usb, name)


@pytest.mark.parametrize("name", ["usb:2ce3", "usb:2ce3:95", "v4l2://front", "usb:"])
def test_a_name_that_is_none_is_said(usb: Usb, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected (usb:VID:PID|v4l2://)"):
        seeker(usb, name)


def test_two_equal_cameras_are_told_apart_by_their_serial_numbers(usb: Usb) -> None:
    usb.plug(0, port="1-1", serial="0041")
    usb.plug(2, port="1-2", serial="0042")
    assert found(usb, "usb:2ce3:9563:0042") == "video2"
    with pytest.raises(SourceUnavailable) as caught:
        found(usb, "usb:2ce3:9563")
    assert str(caught.value) == (
        "usb:2ce3:9563: may be /dev/video0 (serial number 0041, port 1-1) and /dev/video2 (serial "
        "number 0042, port 1-2); name the one that is meant by its serial number, as "
        "usb:2ce3:9563:0041"
    )


@pytest.mark.parametrize("serial", ["", "0001"])
def test_two_cameras_that_are_alike_in_all_are_told_apart_by_their_places(
    usb: Usb, serial: str
) -> None:
    usb.plug(0, port="1-1", serial=serial)
    usb.plug(2, port="1-2", serial=serial)
    by_id = f"/dev/v4l/by-id/usb-Maker_{serial}-0-index0"  # udev makes one link for both
    for name in (f"usb:2ce3:9563:{serial}".rstrip(":"), by_id):
        with pytest.raises(SourceUnavailable) as caught:
            found(usb, name)
        assert "/dev/video0 (" in str(caught.value)
        assert "/dev/video2 (" in str(caught.value)
        assert "by its place, as /dev/v4l/by-path/pci-usb-1-1-0-index0" in str(caught.value)
    assert found(usb, "/dev/v4l/by-path/pci-usb-1-2-0-index0") == "video2"


def test_two_cameras_in_one_device_are_told_apart_by_their_places(usb: Usb) -> None:
    usb.plug(0, port="1-1", serial="0041", interface=0)
    usb.plug(2, port="1-1", serial="0041", interface=2)
    with pytest.raises(SourceUnavailable, match=r"by its place, as .*pci-usb-1-1-0-index0"):
        found(usb, "usb:2ce3:9563:0041")
    assert found(usb, "/dev/v4l/by-id/usb-Maker_0041-2-index0") == "video2"


@pytest.mark.parametrize("name", ["0", "usb:2ce3:9563:0041", "usb:2ce3:9563"])
def test_a_camera_is_found_again_under_another_number_and_port(usb: Usb, name: str) -> None:
    usb.plug(0, port="1-1", serial="0041")
    camera = seeker(usb, name)
    camera.opened(camera.device())
    usb.unplug("1-1")
    usb.plug(0, port="1-3", serial="0042")  # takes its number
    with pytest.raises(SourceUnavailable, match=r"\(usb:2ce3:9563:0041, .*\) is not connected"):
        camera.device()
    usb.plug(4, port="1-4", serial="0041")
    assert camera.device().name == "video4"


@pytest.mark.parametrize("name", ["0", "usb:2ce3:9563", "/dev/v4l/by-path/pci-usb-1-1-0-index0"])
def test_without_a_serial_number_of_its_own_a_camera_keeps_its_port(usb: Usb, name: str) -> None:
    usb.plug(0, port="1-1")
    camera = seeker(usb, name)
    camera.opened(camera.device())
    usb.unplug("1-1")
    usb.plug(0, port="1-2")
    with pytest.raises(SourceUnavailable) as caught:
        camera.device()
    assert "; /dev/video0 (port 1-2) looks the same and is not taken for it; " in str(caught.value)
    assert str(caught.value).endswith("plug it into port 1-1 again")
    usb.plug(4, port="1-1")
    assert camera.device().name == "video4"


def test_a_second_camera_of_the_same_serial_number_is_not_guessed_at(usb: Usb) -> None:
    usb.plug(0, port="1-1", serial="0001")
    camera = seeker(usb, "usb:2ce3:9563:0001")
    camera.opened(camera.device())
    usb.unplug("1-1")
    usb.plug(0, port="1-2", serial="0001")
    usb.plug(2, port="1-3", serial="0001")
    with pytest.raises(SourceUnavailable, match=r"video0 .* and /dev/video2 .*unplug the one"):
        camera.device()


def test_the_reader_takes_the_same_camera_up_again_with_its_locks(
    usb: Usb, monkeypatch: pytest.MonkeyPatch
) -> None:
    usb.plug(0, port="1-1", serial="0041")
    usb.plug(2, port="1-2", serial="0042")
    opened: list[tuple[int, ScriptedCapture]] = []
    locked: list[tuple[str, Locks]] = []

    def open_capture(index: int, backend: int) -> Any:
        if len(opened) == 1:  # unplugged; while it is opened, its number goes to another one
            usb.unplug("1-2")
            usb.unplug("1-1")
            usb.plug(0, port="1-2", serial="0042")
            usb.plug(4, port="1-1", serial="0041")
        opened.append((index, ScriptedCapture(jpeg_of(len(opened)))))
        return opened[-1][1]

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(usb_module, "open_capture", open_capture)
    monkeypatch.setattr(
        usb_module, "lock_controls", lambda device, locks: locked.append((device.name, locks))
    )
    locks = Locks(gain=3)
    opener = usb_opener(
        seeker(usb, "usb:2ce3:9563:0041"), CameraFormat(locks=locks), check_now=True
    )
    quick = Reconnect(first_delay_s=0.01, factor=1)
    with LatestFrame(opener, name="handle", reconnect=quick) as source:
        while len(opened) < 3:
            assert source.get(5.0) is not None
    assert [index for index, _ in opened[:3]] == [0, 0, 4]
    assert opened[1][1].contents  # of the other camera no picture was taken
    assert opened[1][1].released
    assert (locked[0], locked[2]) == (("video0", locks), ("video4", locks))


def test_files_and_streams_are_no_cameras() -> None:
    for text in ("clip.mp4", "http://a/b", "csi://0", "/dev/shm/clip.mp4", "gst://v4l2src"):
        assert not looks_like_camera(text), text
    with pytest.raises(SourceUnavailable, match=r"/dev/shm/none\.mp4: no such file"):
        open_source("/dev/shm/none.mp4", live=True)
