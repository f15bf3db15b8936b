"""Buttons and foot switches, as Linux reports them: events of an input device.

The structure is `input_event` of linux/input.h. A device is taken for this program alone, so that a
foot switch that is a keyboard to Linux does not type elsewhere.
"""

import contextlib
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.closing import Closing
from ckd.runtime.sources import CameraSeeker, usb_device_of
from ckd.runtime.unit.unit import ButtonChoice

EVENT: Final = struct.Struct("@llHHi")  # seconds, microseconds, type, code, value
_KEY: Final = 1  # EV_KEY
_UP, _DOWN = 0, 1  # 2 repeats a key that is held
_GRAB: Final = 0x40044590  # EVIOCGRAB
_CLOCK: Final = 0x400445A0  # EVIOCSCLOCKID
_MONOTONIC: Final = struct.pack("=i", 1)
_AT_ONCE: Final = 64
_POLL_S: Final = 0.2
#: Between two looks for a device that is not there.
RETRY_S: Final = 2.0


class Contact(NamedTuple):
    """A key went down or up."""

    time_s: float
    code: int
    is_down: bool


#: Told of every contact, in the reader's thread.
Told = Callable[[ButtonChoice, Contact], None]


class ButtonReader(Closing):
    """Reads the input devices of one button in a thread, and finds them again after a loss.

    Args:
        button: whose contacts are told.
        find: gives the device files now; none if it is not connected.
        told: of its contacts.
        say: told once when there is none, and when it is back.
        retry_s: between two looks for it.
    """

    def __init__(
        self,
        button: ButtonChoice,
        find: Callable[[], Sequence[Path]],
        told: Told,
        say: Callable[[str], None],
        retry_s: float = RETRY_S,
    ) -> None:
        self._button, self._find, self._told, self._say = button, find, told, say
        self._retry_s = retry_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"button {button.device}")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        is_said = False
        while not self._stop.is_set():
            problem = "is not connected"
            try:
                with _opened(self._find()) as files:
                    if files:
                        if is_said:
                            self._say(f"button {self._button.device} is back")
                        is_said = False
                        self._read(files)
            except PermissionError:
                problem = "needs this user in the group `input`; log in again after that"
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
            if not is_said and not self._stop.is_set():
                is_said = True
                self._say(
                    f"note: button {self._button.device} {problem}; it is looked for every "
                    f"{self._retry_s:g} s"
                )
            self._stop.wait(self._retry_s)

    def _read(self, files: list[int]) -> None:
        """Tell of contacts until the first device has gone."""
        pending = dict.fromkeys(files, b"")
        while not self._stop.is_set():
            for file in select.select(files, (), (), _POLL_S)[0]:
                content = os.read(file, EVENT.size * _AT_ONCE)
                if not content:
                    return
                pending[file] += content
                whole = len(pending[file]) // EVENT.size * EVENT.size
                for contact in contacts_in(pending[file][:whole]):
                    if self._button.key in (None, contact.code):
                        self._told(self._button, contact)
                pending[file] = pending[file][whole:]


def contacts_in(content: bytes) -> Iterator[Contact]:
    """The keys that went down or up, in whole events."""
    for seconds, microseconds, kind, code, value in EVENT.iter_unpack(content):
        if kind == _KEY and value in (_UP, _DOWN):
            yield Contact(seconds + microseconds / 1e6, code, value == _DOWN)


def input_devices(
    button: ButtonChoice, camera: CameraSeeker | None, root: Path = Path("/")
) -> list[Path]:
    """The device files of a button now.

    Args:
        button: with "camera" those of the same USB device as the camera.
        camera: finds the camera; None if it is none of this machine.
        root: below which `dev` and `sys` are.
    """
    if button.device != "camera":
        path = root / button.device.lstrip("/")
        return [path] if path.exists() else []
    try:
        usb = None
        if camera is not None:
            camera.opened(camera.device())  # from now on this one, whatever its number
            usb = camera.usb()
    except SourceUnavailable:
        return []
    if usb is None:
        return []
    entries = sorted((root / "sys/class/input").glob("event*"))
    found = ((entry, usb_device_of(entry)) for entry in entries)
    return [
        root / "dev/input" / entry.name
        for entry, one in found
        if one is not None and one.is_in_one_with(usb)
    ]


@contextlib.contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        files = []
        for path in paths:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, file)
            _take(file)
            files.append(file)
        yield files


def _take(file: int) -> None:
    """Take a device for this program alone, with times that do not jump; a pipe has neither."""
    import fcntl  # of Unix

    for request, argument in ((_CLOCK, _MONOTONIC), (_GRAB, 1)):
        with contextlib.suppress(OSError):
            fcntl.ioctl(file, request, argument)
