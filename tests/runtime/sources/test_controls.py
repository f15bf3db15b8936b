"""Locks of a camera, by a driver that is written by hand and speaks Video for Linux."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources.controls import GET, QUERIED, QUERY, SET, VALUE, Ask, Locks, lock_controls

EXPOSURE_AUTO, EXPOSURE, PRIORITY = 0x9A0901, 0x9A0902, 0x9A0903
WHITE_AUTO, WHITE, GAIN = 0x98090C, 0x98091A, 0x980913
DEVICE = Path("/dev/video3")


class Driver:
    """Controls by number: least, most, step, flags; and their values."""

    def __init__(self) -> None:
        self.controls = {
            EXPOSURE_AUTO: (0, 3, 1, 0), EXPOSURE: (1, 5000, 1, 0), PRIORITY: (0, 1, 1, 0),
            WHITE_AUTO: (0, 1, 1, 0), WHITE: (2800, 6500, 10, 0), GAIN: (0, 100, 1, 1),
        }  # fmt: skip
        self.values = {EXPOSURE_AUTO: 3, EXPOSURE: 156, PRIORITY: 1, WHITE_AUTO: 1, WHITE: 4600}
        self.takes_exposure = True

    @contextmanager
    def open(self, device: Path) -> Iterator[Ask]:
        assert device == DEVICE
        yield self.ask

    def ask(self, request: int, content: bytes) -> bytes:
        if request == QUERY:
            number = QUERIED.unpack(content)[0]
            self._check(number)
            least, most, step, flags = self.controls[number]
            return QUERIED.pack(number, 1, b"control", least, most, step, 0, flags, 0, 0)
        number, value = VALUE.unpack(content)
        self._check(number)
        if request == SET and not (number == EXPOSURE and not self.takes_exposure):
            self.values[number] = value // self.controls[number][2] * self.controls[number][2]
        assert request in (SET, GET)
        return VALUE.pack(number, self.values[number])

    def _check(self, number: int) -> None:
        if number not in self.controls:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_requests_have_the_size_that_the_kernel_expects() -> None:
    for request, structure in ((QUERY, QUERIED), (GET, VALUE), (SET, VALUE)):
        assert (request >> 16) & 0x3FFF == structure.size


def test_values_are_held_and_what_the_camera_regulates_is_switched_off() -> None:
    driver = Driver()
    lock_controls(DEVICE, Locks(exposure_ms=12.5, white_balance_k=5004), driver.open)
    assert driver.values == {
        EXPOSURE_AUTO: 1, EXPOSURE: 125, PRIORITY: 0, WHITE_AUTO: 0, WHITE: 5000
    }  # fmt: skip


def test_without_locks_the_driver_is_not_asked() -> None:
    lock_controls(DEVICE, Locks(), lambda device: pytest.fail("opened"))


@pytest.mark.parametrize(
    ("locks", "complaint"),
    [
        (Locks(focus=3), "focus = 3: the camera has no such control; remove that line"),
        (Locks(gain=3), "gain = 3: the camera has no such control"),  # it is disabled
        (Locks(exposure_ms=600), "exposure_ms = 600: the camera takes 0.1 to 500; change"),
        (Locks(white_balance_k=2000), "white_balance_k = 2000: the camera takes 2800 to 6500"),
    ],
)
def test_what_the_camera_cannot_do_is_said(locks: Locks, complaint: str) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        lock_controls(DEVICE, locks, Driver().open)
    assert str(caught.value).startswith(f"/dev/video3: {complaint}")


def test_a_camera_that_does_not_take_a_value_is_not_used() -> None:
    driver = Driver()
    driver.takes_exposure = False
    with pytest.raises(SourceUnavailable, match=r"exposure_ms = 20: the camera took 15\.6"):
        lock_controls(DEVICE, Locks(exposure_ms=20), driver.open)


def test_a_camera_that_has_gone_is_said() -> None:
    driver = Driver()

    def gone(request: int, content: bytes) -> bytes:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    driver.ask = gone  # type: ignore[method-assign]
    with pytest.raises(SourceUnavailable, match=r"controls cannot be set \(No such device"):
        lock_controls(DEVICE, Locks(gain=3), driver.open)
