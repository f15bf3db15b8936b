"""The desktop window, on stand-ins for OpenCV's windows."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pytest
from numpy.typing import NDArray
from tests.runtime.live.rig import LIVE, none_of_them, shown

from ckd.contract.errors import EnvironmentUnusable
from ckd.runtime.live import (
    Status,
    WindowView,
    save_snapshot,
)
from ckd.runtime.live import window as window_module
from ckd.runtime.sinks import RecordingState
from ckd.runtime.sources import FaultKind
from ckd.runtime.sources.opencv import build_feature


@pytest.mark.skipif(build_feature("GUI") is not None, reason="this OpenCV has windows")
def test_a_headless_opencv_names_the_ways_out() -> None:
    with pytest.raises(EnvironmentUnusable, match=r"`--view web`.*opencv-python in place of"):
        WindowView()


def test_a_machine_without_display_is_no_place_for_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_module, "build_feature", lambda name: "QT5")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(EnvironmentUnusable, match="no display"):
        WindowView()


class FakeWindows:
    """Stands in for OpenCV's windows, which the wheel used in tests has not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[int] = []
        self.visible = 1.0
        self.pictures: list[NDArray[Any]] = []
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(window_module, "build_feature", lambda name: "QT5")
        monkeypatch.setattr(cv2, "namedWindow", lambda *args: None)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.pictures.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda ms: self.keys.pop(0) if self.keys else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *args: self.visible)


def test_the_window_obeys_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = FakeWindows(monkeypatch)
    pressed: list[str] = []
    save = partial(save_snapshot, tmp_path)
    with WindowView(save=save, pressed=pressed.append) as window:
        windows.keys = [-1, ord(" "), -1, ord("s"), ord(" "), -1, ord("q")]
        for index in range(6):
            window.update(LIVE, shown(index))
            assert not window.closed
        # Frozen at frame 1, so that is what was saved, though frames 2 and 3 had come since.
        assert len(list(tmp_path.glob("*_000001.png"))) == 1
        window.update(LIVE, None)
        assert window.closed
    assert pressed == ["freeze", "save", "unfreeze", "quit"]
    assert all(picture.shape == windows.pictures[0].shape for picture in windows.pictures)


def test_the_window_says_that_a_recording_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    put = cv2.putText

    def keep(canvas_HWC: NDArray[Any], text: str, *args: Any) -> Any:
        written.append(text)
        return put(canvas_HWC, text, *args)

    monkeypatch.setattr(cv2, "putText", keep)
    for ended_by in ("", "the disk is full"):
        recording = RecordingState(path=Path("seen.mkv"), ended_by=ended_by)
        written.clear()
        window_module.window_picture(
            replace(LIVE, recording=recording), shown(), frozen=False, message=""
        )
        assert ("Recording ended early: the disk is full" in written) == bool(ended_by)


def test_the_window_closes_with_esc_and_its_own_button(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = FakeWindows(monkeypatch)
    windows.keys = [27]
    by_key, by_button = WindowView(), WindowView()
    by_key.update(LIVE, None)
    windows.visible = 0.0
    by_button.update(LIVE, None)
    assert by_key.closed
    assert by_button.closed


def test_a_save_that_fails_is_said_in_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    windows = FakeWindows(monkeypatch)
    windows.keys = [ord("s")]
    window = WindowView(save=partial(save_snapshot, tmp_path / "taken"))
    window.update(LIVE, shown())
    window.update(LIVE, None)
    assert (windows.pictures[0] != windows.pictures[1]).any()
    assert not window.closed


def test_the_window_says_that_no_label_is_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cv2, "putText", lambda canvas, text, *_: said.append(text))
    for result in (shown(), none_of_them(shown())):
        window_module.window_picture(LIVE, result, frozen=False, message="")
    assert said.count("nevus") == 1
    assert said.count("none of MEL, SBK") == 1


def test_the_window_says_that_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cv2, "putText", lambda canvas, text, *_: said.append(text))
    window_module.window_picture(
        replace(LIVE, journal="disk full"), shown(), frozen=False, message=""
    )
    assert "not in the journal: disk full" in said


def test_a_lost_signal_darkens_the_picture() -> None:
    lost = Status(state="no signal", detail="attempt 1 of 10")
    live_HWC, lost_HWC = (
        window_module.window_picture(status, shown(), frozen=False, message="")
        for status in (LIVE, lost)
    )
    assert live_HWC.shape == lost_HWC.shape
    assert lost_HWC[300, 300].max() <= live_HWC[300, 300].max() / 2


def test_faults_of_frames_are_a_line_of_the_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cv2, "putText", lambda canvas, text, *_: said.append(text))
    faults: dict[FaultKind, int] = {"damaged": 3, "late": 1}
    faulty = replace(LIVE, statistics=replace(LIVE.statistics, faults=faults))
    for status in (LIVE, faulty):
        window_module.window_picture(status, None, frozen=False, message="")
    assert said.count("3 damaged, 1 late") == 1
    assert len([line for line in said if "damaged" in line]) == 1
