"""Finds the device file of a camera by what was typed, and the same camera again after a loss.

Numbers of device files are given in the order in which cameras appear. So a USB camera that was
open is looked for by what its bus knows of it: vendor, product, interface and serial number, or
without a serial number of its own by the port that it is plugged into. A camera that looks the same
is never taken in its place.

0                         index, as is `/dev/video0`
/dev/v4l/by-id/...        link to a device file; `by-path` names the port
v4l2:///dev/video0        the same with a scheme, also `v4l2://0`
usb:VID:PID[:SERIAL]      by numbers of maker and product, as `lsusb` shows them
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from ckd.contract.errors import SourceUnavailable, UsageError
from ckd.runtime.sources.cameras import (
    Camera,
    connected_cameras,
    entries_below,
    gives_pictures,
    links_in,
    number_of,
)
from ckd.runtime.sources.usb_bus import UsbDevice, usb_device_of

_USB = re.compile(r"usb:([0-9a-f]{4}):([0-9a-f]{4})(?::(.+))?", re.IGNORECASE)
_LOOKS_LIKE_CAMERA = re.compile(r"\d+|/dev/video\d+|/dev/v4l/.+|(?:v4l2://|usb:).*", re.IGNORECASE)
_DEVICE = re.compile(r"/dev/video(\d+)")


class CameraSeeker:
    """Finds one camera.

    Args:
        name: as typed, see the top of this file.
        root: below which `dev` and `sys` are; a path without links.
        asked: whether a device file gives pictures, see `connected_cameras`.

    Attributes:
        name: as typed.

    Raises:
        UsageError: the name is none of a camera.
    """

    def __init__(
        self,
        name: str,
        root: Path = Path("/"),
        asked: Callable[[Path], bool] = gives_pictures,
    ) -> None:
        self.name = name
        self._root, self._asked = root, asked
        self._path = re.sub(r"(?i)^v4l2://", "", name)
        self._ids = _USB.fullmatch(name)
        if self._path.isdecimal():
            self._path = f"/dev/video{int(self._path)}"
        if self._ids is None and name.lower().startswith("usb:"):
            raise UsageError(
                f"{name}: expected usb:VID:PID or usb:VID:PID:SERIAL with four hexadecimal digits "
                "each, as `lsusb` and `ckd-run camera --list` show them"
            )
        if self._ids is None and not self._path.startswith("/dev/"):
            raise UsageError(f"{name}: expected v4l2:///dev/videoN")
        self._wanted: tuple[UsbDevice, int] | None = None  # once it was open, with its number there
        self._by_port = False

    def device(self) -> Path:
        """Its device file now.

        Raises:
            SourceUnavailable: it is not connected, or more than one may be meant.
        """
        if self._wanted is not None:
            return self._again(*self._wanted)
        if self._ids is not None:
            return self._by_ids(*self._ids.groups(default=""))
        device = os.path.realpath(self._root / self._path.lstrip("/"))
        name = f"/{os.path.relpath(device, self._root)}"
        if not _DEVICE.fullmatch(name):
            raise SourceUnavailable(
                f"{self.name}: no such camera (connected: {self._connected()}); plug it in"
            )
        if self._path.startswith("/dev/v4l/by-id/"):
            self._check_link(name)
        return Path(device)

    def usb(self) -> UsbDevice | None:
        """What the bus knows of it, if it is connected and on a USB.

        Raises:
            SourceUnavailable: as `device`.
        """
        return usb_device_of(self._entry(self.device()))

    def opened(self, device: Path) -> None:
        """Take note that the camera of a device file is the one, from now on."""
        entry = self._entry(device)
        usb = usb_device_of(entry)
        if usb is None or self._wanted is not None:
            return
        twins = [one for _, one, _ in self._all() if one.is_twin_of(usb) and one.port != usb.port]
        self._by_port = not usb.serial or bool(twins)
        self._wanted = usb, number_of(entry)

    def _entry(self, device: Path) -> Path:
        return self._root / "sys/class/video4linux" / device.name

    def _all(self) -> list[tuple[str, UsbDevice, int]]:
        """Name, USB device and number of all device files on a USB."""
        found = ((entry, usb_device_of(entry)) for entry in entries_below(self._root))
        return [(entry.name, usb, number_of(entry)) for entry, usb in found if usb is not None]

    def _again(self, wanted: UsbDevice, number: int) -> Path:
        alike = [
            (name, usb)
            for name, usb, its_number in self._all()
            if usb.is_twin_of(wanted) and its_number == number
        ]
        found = [(name, usb) for name, usb in alike if usb.port == wanted.port or not self._by_port]
        if len(found) == 1:
            return self._root / "dev" / found[0][0]
        if found:
            both = " and ".join(f"/dev/{name} (port {usb.port})" for name, usb in found[:2])
            raise SourceUnavailable(
                f"{self.name}: {both} have one serial number, {wanted.serial}; unplug the one that "
                "is not meant"
            )
        others = [f"/dev/{name} (port {usb.port})" for name, usb in alike]
        kind = f"; {others[0]} looks the same and is not taken for it" if others else ""
        place = f"into port {wanted.port}" if self._by_port else "in"
        raise SourceUnavailable(
            f"{self.name}: the camera that was open ({wanted.source}, {wanted.shown}) is not "
            f"connected{kind}; plug it {place} again"
        )

    def _by_ids(self, vendor: str, product: str, serial: str) -> Path:
        cameras = connected_cameras(self._root, self._asked)
        found = [
            (camera, usb)
            for camera in cameras
            if (usb := camera.usb) is not None
            and (usb.vendor, usb.product) == (vendor.lower(), product.lower())
            and serial in ("", usb.serial)
        ]
        if not found:
            connected = ", ".join(camera.usb.source for camera in cameras if camera.usb) or "none"
            raise SourceUnavailable(
                f"{self.name}: no such camera (on USB: {connected}); plug it in"
            )
        if len(found) > 1:
            raise self._ambiguous(found)
        return self._root / found[0][0].source.lstrip("/")

    def _check_link(self, device: str) -> None:
        """By maker and serial number Linux makes one link for all cameras that have both alike."""
        cameras = connected_cameras(self._root, self._asked)
        known = [(camera, usb) for camera in cameras if (usb := camera.usb) is not None]
        for camera, usb in known:
            twins = [pair for pair in known if pair[1].is_twin_of(usb)]
            if camera.source == device and len({one.port for _, one in twins}) > 1:
                raise self._ambiguous(twins)

    def _ambiguous(self, found: list[tuple[Camera, UsbDevice]]) -> SourceUnavailable:
        both = " and ".join(f"{camera.source} ({usb.shown})" for camera, usb in found[:2])
        camera, usb = found[0]
        serials = [one.serial for _, one in found]
        if usb.serial and serials.count(usb.serial) == 1:
            remedy = f"by its serial number, as {usb.source}"
        else:
            name = camera.source.rpartition("/")[2]
            link = links_in(self._root, "by-path").get(name, "/dev/v4l/by-path/...")
            remedy = f"by its place, as {link}"
        return SourceUnavailable(f"{self.name}: may be {both}; name the one that is meant {remedy}")

    def _connected(self) -> str:
        return ", ".join(f"/dev/{entry.name}" for entry in entries_below(self._root)) or "none"


def looks_like_camera(text: str) -> bool:
    """Whether what was typed names a camera of this machine, and no file or stream."""
    if _LOOKS_LIKE_CAMERA.fullmatch(text):
        return True
    return text.startswith("/dev/") and bool(_DEVICE.fullmatch(os.path.realpath(text)))
