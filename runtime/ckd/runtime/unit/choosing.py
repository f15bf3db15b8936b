"""Which unit file belongs to the camera that is opened, so that no camera gets another one's."""

from collections.abc import Callable
from pathlib import Path

from ckd.contract.errors import InputError, SourceUnavailable, UsageError
from ckd.runtime.sources import (
    CameraSeeker,
    UsbDevice,
    connected_cameras,
    looks_like_camera,
    without_password,
)
from ckd.runtime.unit.reading import read_unit
from ckd.runtime.unit.unit import Unit


def usb_of(source: str) -> UsbDevice | None:
    """What the bus knows of a camera that was typed; None of files, streams and other buses.

    Raises:
        SourceUnavailable: it is not connected, or two may be meant.
    """
    return CameraSeeker(source).usb() if looks_like_camera(source) else None


def connected() -> list[UsbDevice]:
    """The cameras that are connected by USB."""
    return [camera.usb for camera in connected_cameras() if camera.usb is not None]


def choose_unit(
    path: Path,
    source: str | None,
    usb: Callable[[str], UsbDevice | None] = usb_of,
    cameras: Callable[[], list[UsbDevice]] = connected,
) -> tuple[Unit, str]:
    """The unit and the source to open.

    Args:
        path: a unit file, or a folder of such; each names its camera in ``source``.
        source: as typed; None for the camera that the file names.
        usb: what the bus knows of a source.
        cameras: those that are connected.

    Raises:
        InputError: a file is wrong, is another camera's, or not one file of the folder fits.
        UsageError: neither the file nor the command names a camera.
        SourceUnavailable: the camera is not connected, or two may be meant.
    """
    if path.is_dir():
        unit = _from_folder(path, source, usb, cameras)
    else:
        unit = read_unit(path)
        device = None if source is None or unit.source is None else usb(source)
        if device is not None and not _is_of(unit, device, usb):
            raise InputError(
                f"{path}: is the file of {unit.source}, and {source} is {device.source}; "
                "name the file of that camera"
            )
        if device is None and source is not None and _is_elsewhere(unit, source):
            raise InputError(
                f"{path}: is the file of {without_password(unit.source or '')}, and "
                f"{without_password(source)} is another source; name the file of that one, or "
                "take the line source = out of it"
            )
    chosen = unit.source if source is None else source
    if chosen is None:
        raise UsageError(f'{unit.path}: has no source; add one, as source = "usb:VID:PID:SERIAL"')
    return unit, chosen


def _from_folder(
    folder: Path,
    source: str | None,
    usb: Callable[[str], UsbDevice | None],
    cameras: Callable[[], list[UsbDevice]],
) -> Unit:
    units = [read_unit(file) for file in sorted(folder.glob("*.toml"))]
    device = None if source is None else usb(source)
    if source is not None and device is None:
        raise InputError(f"{folder}: the source has no serial number to choose by; name one file")
    devices = cameras() if device is None else [device]
    found = [
        unit
        for unit in units
        if looks_like_camera(unit.source or "") and any(_is_of(unit, one, usb) for one in devices)
    ]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(one.source for one in devices) or "none"
    fitting = " and ".join(unit.path.name for unit in found) or "none"
    raise InputError(
        f"{folder}: expected one file whose source is the camera's ({shown}), got {fitting} of "
        f"{len(units)} files"
    )


def _is_elsewhere(unit: Unit, source: str) -> bool:
    """Whether a live source without a serial number is not what a file names.

    A recording may be of any camera.
    """
    named = unit.source or source
    if looks_like_camera(source) and looks_like_camera(named):
        return named.lower().startswith("usb:")
    bare = [without_password(one) for one in (source, named)]
    return bare[0] != bare[1] and all(
        looks_like_camera(one) or "://" in one for one in (source, named)
    )


def _is_of(unit: Unit, device: UsbDevice, usb: Callable[[str], UsbDevice | None]) -> bool:
    """Whether a file is of a camera, as far as it says which; a stream or video may be of any."""
    source = unit.source or ""
    if source.lower().startswith("usb:"):
        kind = f"usb:{device.vendor}:{device.product}"
        return source.lower() in (kind, device.source.lower())
    try:
        return not looks_like_camera(source) or usb(source) == device
    except SourceUnavailable:
        return False
