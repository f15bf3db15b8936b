"""The cameras that are connected, by Linux's own lists.

One USB camera has several device files, of which some give no pictures: what each can do is asked
of its driver (VIDIOC_QUERYCAP of Video for Linux 2, linux/videodev2.h).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ckd.runtime.sources.controls import driver_of
from ckd.runtime.sources.usb_bus import UsbDevice, text_of, usb_device_of

_VIDIOC_QUERYCAP: Final = 0x80685600
_CAPABILITY: Final = struct.Struct("16s32s32sIII3I")  # v4l2_capability
_GIVES_PICTURES: Final = 0x1 | 0x1000  # V4L2_CAP_VIDEO_CAPTURE, and of several planes
_HAS_OWN_CAPABILITIES: Final = 0x80000000  # V4L2_CAP_DEVICE_CAPS


@dataclass(frozen=True, slots=True)
class Camera:
    """A connected camera.

    Attributes:
        source: what `open_source` takes.
        name: as its driver says it.
        lasting: a path that stays when cameras are plugged in another order; None if there is none.
        problem: why it cannot be used now, with the remedy; empty if it can.
        usb: what its bus knows of it; None if it is on another bus.
    """

    source: str
    name: str
    lasting: str | None
    problem: str = ""
    usb: UsbDevice | None = None


def gives_pictures(device: Path) -> bool:
    """Whether a device file gives pictures, as its driver says.

    Raises:
        OSError: it cannot be opened, or is no device of Video for Linux.
    """
    with driver_of(device) as ask:
        answer = ask(_VIDIOC_QUERYCAP, bytes(_CAPABILITY.size))
    *_, of_all, of_this, _, _, _ = _CAPABILITY.unpack(answer)
    return bool((of_this if of_all & _HAS_OWN_CAPABILITIES else of_all) & _GIVES_PICTURES)


def connected_cameras(
    root: Path = Path("/"), asked: Callable[[Path], bool] = gives_pictures
) -> list[Camera]:
    """The cameras of this machine, by their numbers; empty where there is no Linux.

    Args:
        root: below which `dev` and `sys` are.
        asked: whether a device file gives pictures; `OSError` if that cannot be found out.
    """
    lasting = links_in(root, "by-id")
    found = []
    for entry in entries_below(root):
        device = root / "dev" / entry.name
        try:
            problem = ""
            if not asked(device):
                continue
        except PermissionError:
            problem = "no permission; add this user to the group `video` and log in again"
        except OSError as error:
            problem = f"cannot be opened ({error.strerror})"
        if problem and number_of(entry) > 0:
            continue  # mostly the second file of the same camera, with data about its pictures
        name, usb = text_of(entry / "name") or "camera", usb_device_of(entry)
        found.append(Camera(f"/dev/{entry.name}", name, lasting.get(entry.name), problem, usb))
    return found


def entries_below(root: Path) -> list[Path]:
    """The entries of all device files in ``sys``, by their numbers."""
    entries = (root / "sys/class/video4linux").glob("video*")
    return sorted(entries, key=lambda entry: (len(entry.name), entry.name))


def links_in(root: Path, kind: str) -> dict[str, str]:
    """The links of ``/dev/v4l/<kind>`` by the name of the device file, as "video0"."""
    return {
        link.resolve().name: f"/{link.relative_to(root)}"
        for link in sorted((root / "dev/v4l" / kind).glob("*"))
    }


def number_of(entry: Path) -> int:
    """The number of a device file among those of its camera; 0 is the first."""
    text = text_of(entry / "index")
    return int(text) if text.isdecimal() else 0
