"""Buttons and foot switches, played through pipes as the kernel would report them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_usb import Usb
from tests.runtime.live.rig import LIVE, shown

from ckd.contract.errors import CkdError
from ckd.runtime.live import ButtonView, Shown
from ckd.runtime.sources import CameraSeeker
from ckd.runtime.unit import ButtonChoice, ButtonReader, Contact, Handle, Unit, input_devices
from ckd.runtime.unit.buttons import EVENT, contacts_in
from ckd.runtime.unit.handle import Debounce

KEY, SYN = 1, 0
CAMERA_KEY = 212
UNIT = Unit(path=Path("x.toml"), name="x", polarised=True)


def event(time_s: float, value: int, code: int = CAMERA_KEY, kind: int = KEY) -> bytes:
    seconds, part = divmod(time_s, 1)
    return EVENT.pack(int(seconds), round(1e6 * part), kind, code, value)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def wait_for(is_so: Callable[[], object]) -> None:
    end_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_only_keys_that_go_down_or_up_are_contacts() -> None:
    content = event(1.5, 1) + event(1.5, 0, kind=SYN) + event(1.75, 2) + event(2.0, 0, code=30)
    assert [*contacts_in(content)] == [
        Contact(1.5, CAMERA_KEY, True),
        Contact(2.0, 30, False),
    ]


def test_a_contact_that_bounces_is_one_press() -> None:
    debounce = Debounce(0.05)
    script = [  # seconds, down, counts
        (10.000, True, True), (10.004, False, False), (10.006, True, False), (10.300, False, False),
        (10.302, True, False), (10.304, False, False),  # it bounces when it opens, too
        (10.400, True, True), (10.500, False, False), (3.0, True, True),  # the clock was set back
    ]  # fmt: skip
    for time_s, is_down, counts in script:
        assert debounce.is_press(time_s, is_down=is_down) is counts, time_s


def test_presses_wait_for_a_frame_each_and_the_light_is_switched() -> None:
    handle = Handle(UNIT)
    assert handle.stamp() == {"polarised": True, "pressed": False}
    assert handle.change("capture", 1.0, is_down=True)
    assert not handle.change("capture", 1.2, is_down=False)
    assert handle.change("capture", 1.4, is_down=True)
    assert handle.change("polarised", 1.41, is_down=True)  # another contact
    assert handle.stamp() == {"polarised": False, "pressed": True}
    assert handle.stamp()["pressed"]  # the second press
    handle.captured()
    handle.captured()
    assert not handle.stamp()["pressed"]  # each had its frame


def test_a_press_whose_frame_has_no_finding_waits_for_the_next_and_each_is_answered_once() -> None:
    handle = Handle(UNIT)
    assert handle.change("capture", 1.0, is_down=True)
    assert handle.stamp()["pressed"]
    assert not handle.stamp()["pressed"]  # taken while the first is made a finding of
    assert handle.stamp()["pressed"]  # the first had none
    assert not handle.stamp()["pressed"]
    handle.captured()
    assert handle.change("capture", 2.0, is_down=True)
    assert [handle.stamp()["pressed"] for _ in range(2)] == [True, False]


def test_a_button_is_read_and_found_again_after_a_loss(tmp_path: Path) -> None:
    pipe = tmp_path / "event7"
    told: list[Contact] = []
    said: list[str] = []
    button = ButtonChoice(device="/dev/input/event7", key=CAMERA_KEY)
    reader = ButtonReader(
        button,
        lambda: [pipe] if pipe.exists() else [],
        lambda which, contact: told.append(contact),
        said.append,
        retry_s=0.01,
    )
    with reader:
        wait_for(lambda: said)
        assert said[0].startswith("note: button /dev/input/event7 is not connected; it is looked")
        os.mkfifo(pipe)
        writing = os.open(pipe, os.O_RDWR)
        wait_for(lambda: len(said) == 2)
        first = event(1.0, 1)
        os.write(writing, first[:10])  # a pipe may cut an event, a device does not
        os.write(writing, first[10:] + event(1.1, 1, code=30) + event(1.2, 0))
        wait_for(lambda: len(told) == 2)
        pipe.unlink()
        os.close(writing)
        wait_for(lambda: len(said) == 3)
    assert told == [Contact(1.0, CAMERA_KEY, True), Contact(1.2, CAMERA_KEY, False)]
    assert said[1:] == ["button /dev/input/event7 is back", said[0]]


def test_a_button_that_this_user_may_not_read_is_said(tmp_path: Path) -> None:
    said: list[str] = []

    def refused() -> list[Path]:
        raise PermissionError(13, "Permission denied")

    with ButtonReader(ButtonChoice(), refused, lambda which, contact: None, said.append, 0.01):
        wait_for(lambda: said)
    assert said[0].startswith("note: button camera needs this user in the group `input`")


def test_the_cameras_own_button_is_that_of_its_usb_device(tmp_path: Path) -> None:
    usb = Usb(tmp_path.resolve())
    usb.plug(0, port="1-1", serial="0041", events=(3,))
    usb.plug(2, port="1-2", serial="0042", events=(5, 6))
    camera = CameraSeeker("usb:2ce3:9563:0042", usb.root, usb.asked)
    names = [path.name for path in input_devices(ButtonChoice(), camera, usb.root)]
    assert names == ["event5", "event6"]
    usb.unplug("1-2")
    assert input_devices(ButtonChoice(), camera, usb.root) == []
    assert input_devices(ButtonChoice(), None, usb.root) == []
    foot = ButtonChoice(device="/dev/input/event3")
    assert input_devices(foot, None, usb.root) == [usb.root / "dev/input/event3"]
    assert input_devices(ButtonChoice(device="/dev/input/none"), None, usb.root) == []


def test_a_press_waits_for_a_finding_and_what_cannot_be_saved_is_said() -> None:
    handle = Handle(UNIT)
    assert handle.change("capture", 1.0, is_down=True)
    saved: list[Shown] = []
    said: list[str] = []

    def save(result: Shown) -> Path:
        saved.append(result)
        raise CkdError("saved: cannot save there (No space left on device)")

    plain = shown(3)
    stamped = replace(plain, frame=replace(plain.frame, unit={**UNIT.about, **handle.stamp()}))
    with ButtonView(handle, save, said.append) as view:
        view.update(LIVE, None)
        view.update(LIVE, plain)  # taken before the press
        view.update(LIVE, stamped)
    assert not handle.stamp()["pressed"]
    assert saved == [stamped]
    assert said == ["error: saved: cannot save there (No space left on device)"]
