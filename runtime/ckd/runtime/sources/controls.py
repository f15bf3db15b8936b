"""Exposure, white balance and focus of a camera, held where its unit file says.

By the controls of Video for Linux 2 (linux/v4l2-controls.h): what a camera regulates by itself is
switched off, the value is set, and read again. A camera that does not have a control, or does not
take the value, is not used: its pictures would change from one day to the other.

Tested with a driver that is written by hand, not on a camera.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from ckd.contract.errors import SourceUnavailable

QUERY: Final = 0xC0445624  # VIDIOC_QUERYCTRL
GET: Final = 0xC008561B  # VIDIOC_G_CTRL
SET: Final = 0xC008561C  # VIDIOC_S_CTRL
QUERIED: Final = struct.Struct("=II32siiiiI2I")  # v4l2_queryctrl
VALUE: Final = struct.Struct("=Ii")  # v4l2_control
_DISABLED: Final = 0x1  # V4L2_CTRL_FLAG_DISABLED

#: Sends a request of the driver with the bytes of its structure, and gives them as they come back.
Ask = Callable[[int, bytes], bytes]
#: Opens a device file for requests, in a ``with`` block.
OpenDriver = Callable[[Path], AbstractContextManager[Ask]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """What a camera is held at; None for what it may regulate by itself.

    Attributes:
        exposure_ms: time that the sensor collects light for each picture.
        gain: in the driver's own steps.
        white_balance_k: colour temperature in kelvin.
        focus: in the driver's own steps.
    """

    exposure_ms: float | None = None
    gain: int | None = None
    white_balance_k: int | None = None
    focus: int | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) is not None for one in fields(self))


@dataclass(frozen=True, slots=True)
class _Lock:
    control: int  # its number, V4L2_CID_*
    per_unit: float  # steps of the driver for each unit of `Locks`
    automatic: tuple[tuple[int, int], ...]  # what switches its regulation off, and to which value


_LOCKS: Final = {
    # EXPOSURE_ABSOLUTE counts 100 microseconds. EXPOSURE_AUTO 1 is manual; with
    # EXPOSURE_AUTO_PRIORITY 0 the frame rate stays.
    "exposure_ms": _Lock(0x9A0902, 10.0, ((0x9A0901, 1), (0x9A0903, 0))),
    "gain": _Lock(0x980913, 1.0, ((0x980912, 0),)),  # GAIN, AUTOGAIN
    # WHITE_BALANCE_TEMPERATURE, AUTO_WHITE_BALANCE
    "white_balance_k": _Lock(0x98091A, 1.0, ((0x98090C, 0),)),
    "focus": _Lock(0x9A090A, 1.0, ((0x9A090C, 0),)),  # FOCUS_ABSOLUTE, FOCUS_AUTO
}


@contextmanager
def driver_of(device: Path) -> Iterator[Ask]:
    """The driver of a device file within a ``with`` block; each request may raise `OSError`."""
    import fcntl  # of Unix

    opened = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield lambda request, content: fcntl.ioctl(opened, request, content)
    finally:
        os.close(opened)


def lock_controls(device: Path, locks: Locks, open_driver: OpenDriver = driver_of) -> None:
    """Hold a camera at what a unit file says.

    Args:
        device: its device file; another program, such as OpenCV, may have it open.
        locks: what to hold.
        open_driver: `driver_of`, or a driver of tests.

    Raises:
        SourceUnavailable: the camera lacks a control, or does not take a value.
    """
    if not locks:
        return
    try:
        with open_driver(device) as ask:
            for name, lock in _LOCKS.items():
                if (asked := getattr(locks, name)) is not None:
                    _lock(f"{device}: {name} = {asked:g}", ask, lock, asked)
    except OSError as error:
        raise SourceUnavailable(
            f"{device}: its controls cannot be set ({error.strerror}); plug it in again"
        ) from error


def _lock(what: str, ask: Ask, lock: _Lock, asked: float) -> None:
    limits = _queried(ask, lock.control)
    if limits is None:
        raise SourceUnavailable(
            f"{what}: the camera has no such control; remove that line of its unit file"
        )
    least, most, step = limits
    value = round(asked * lock.per_unit)
    if not least <= value <= most:
        raise SourceUnavailable(
            f"{what}: the camera takes {least / lock.per_unit:g} to {most / lock.per_unit:g}; "
            "change that line of its unit file"
        )
    for control, off in lock.automatic:
        if _queried(ask, control) is not None:
            ask(SET, VALUE.pack(control, off))
    ask(SET, VALUE.pack(lock.control, value))
    _, taken = VALUE.unpack(ask(GET, VALUE.pack(lock.control, 0)))
    if abs(taken - value) > max(step - 1, 0):
        raise SourceUnavailable(
            f"{what}: the camera took {taken / lock.per_unit:g} in its place; change that line of "
            "its unit file"
        )


def _queried(ask: Ask, control: int) -> tuple[int, int, int] | None:
    """Least, most and step of a control; None if the camera has none of that number."""
    try:
        answer = ask(QUERY, QUERIED.pack(control, 0, b"", 0, 0, 0, 0, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            return None
        raise
    _, _, _, least, most, step, _, flags, _, _ = QUERIED.unpack(answer)
    return None if flags & _DISABLED else (least, most, step)
