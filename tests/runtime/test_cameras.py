"""Which cameras are connected, on a made-up device tree."""

import errno
import os
from pathlib import Path

import pytest

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources import open_source
from ckd.runtime.sources.cameras import Camera, connected_cameras, gives_pictures


def plug_in(root: Path, number: int, name: str, index: int, link: str = "") -> None:
    entry = root / f"sys/class/video4linux/video{number}"
    entry.mkdir(parents=True)
    (entry / "name").write_text(f"{name}\n")
    (entry / "index").write_text(f"{index}\n")
    (root / "dev/v4l/by-id").mkdir(parents=True, exist_ok=True)
    (root / f"dev/video{number}").touch()
    if link:
        (root / "dev/v4l/by-id" / link).symlink_to(f"../../video{number}")


def test_cameras_are_listed_by_number_with_the_name_that_stays(tmp_path: Path) -> None:
    plug_in(tmp_path, 10, "Handle", 0, "usb-Maker_Handle_SN2-video-index0")
    plug_in(tmp_path, 11, "Handle", 1, "usb-Maker_Handle_SN2-video-index1")
    plug_in(tmp_path, 2, "Webcam", 0)
    asked = {"video10": True, "video11": False, "video2": True}
    assert connected_cameras(tmp_path, lambda device: asked[device.name]) == [
        Camera("/dev/video2", "Webcam", None),
        Camera("/dev/video10", "Handle", "/dev/v4l/by-id/usb-Maker_Handle_SN2-video-index0"),
    ]


def test_a_camera_that_cannot_be_opened_is_listed_once_with_its_problem(tmp_path: Path) -> None:
    plug_in(tmp_path, 0, "Handle", 0)
    plug_in(tmp_path, 1, "Handle", 1)

    def refused(device: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (camera,) = connected_cameras(tmp_path, refused)
    assert camera.source == "/dev/video0"
    assert camera.problem.startswith("no permission; add this user to the group `video`")


def test_a_file_that_is_no_camera_is_said(tmp_path: Path) -> None:
    plug_in(tmp_path, 0, "Handle", 0)
    with pytest.raises(OSError, match="ioctl"):
        gives_pictures(tmp_path / "dev/video0")
    (camera,) = connected_cameras(tmp_path)
    assert camera.problem.startswith("cannot be opened (Inappropriate ioctl")
    assert connected_cameras(tmp_path / "elsewhere") == []


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no links below /dev here")
def test_a_link_to_a_device_is_no_video_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "realpath", lambda path: "/dev/video97")
    with pytest.raises(SourceUnavailable, match="/dev/video97: no such camera"):
        open_source("/dev/v4l/by-id/usb-Maker_Handle_SN2-video-index0", live=True)
